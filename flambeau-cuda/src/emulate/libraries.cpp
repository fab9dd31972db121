// The functions of cuBLASLt and cuDNN that flambeau calls, by plain loops over host memory. What the
// real libraries refuse is refused; what they leave to the caller (alignments, workspaces, streams) is
// looked at, and a call that gets it wrong fails. Workspaces are overwritten, and algorithms remember
// what they were chosen for.
//
// With NVIDIA_HEADERS defined the same text compiles with NVIDIA's declarations in place of these.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef NVIDIA_HEADERS
#include <cublasLt.h>
#include <cudnn.h>
#else
typedef struct Stream* cudaStream_t;
typedef enum {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_EXECUTION_FAILED = 13,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
} cublasStatus_t;
typedef enum { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 } cublasOperation_t;
typedef enum {
    CUBLAS_COMPUTE_32F = 68,
    CUBLAS_COMPUTE_64F = 70,
    CUBLAS_COMPUTE_32F_FAST_TF32 = 77,
} cublasComputeType_t;
typedef enum { CUDA_R_32F = 0, CUDA_R_64F = 1, CUDA_R_16F = 2, CUDA_R_16BF = 14 } cudaDataType;
typedef struct BlasHandle* cublasLtHandle_t;
typedef struct BlasDesc* cublasLtMatmulDesc_t;
typedef struct BlasLayout* cublasLtMatrixLayout_t;
typedef struct BlasPreference* cublasLtMatmulPreference_t;
typedef enum {
    CUBLASLT_MATMUL_DESC_TRANSA = 3,
    CUBLASLT_MATMUL_DESC_TRANSB = 4,
    CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
    CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8,
} cublasLtMatmulDescAttributes_t;
typedef enum { CUBLASLT_EPILOGUE_DEFAULT = 1, CUBLASLT_EPILOGUE_BIAS = 4 } cublasLtEpilogue_t;
typedef enum {
    CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT = 5,
    CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET = 6,
} cublasLtMatrixLayoutAttribute_t;
typedef enum {
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8,
} cublasLtMatmulPreferenceAttributes_t;
enum { CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2, CUBLASLT_REDUCTION_SCHEME_MASK = 7 };
typedef struct {
    uint64_t data[8];
} cublasLtMatmulAlgo_t;
typedef struct {
    cublasLtMatmulAlgo_t algo;
    size_t workspaceSize;
    cublasStatus_t state;
    float wavesCount;
    int reserved[4];
} cublasLtMatmulHeuristicResult_t;

typedef enum {
    CUDNN_STATUS_SUCCESS = 0,
    CUDNN_STATUS_BAD_PARAM = 2000,
    CUDNN_STATUS_NOT_SUPPORTED = 3000,
    CUDNN_STATUS_EXECUTION_FAILED = 5000,
} cudnnStatus_t;
typedef enum {
    CUDNN_DATA_FLOAT = 0,
    CUDNN_DATA_DOUBLE = 1,
    CUDNN_DATA_HALF = 2,
    CUDNN_DATA_BFLOAT16 = 9,
} cudnnDataType_t;
typedef enum { CUDNN_TENSOR_NCHW = 0, CUDNN_TENSOR_NHWC = 1 } cudnnTensorFormat_t;
typedef enum { CUDNN_CROSS_CORRELATION = 1 } cudnnConvolutionMode_t;
typedef enum { CUDNN_NON_DETERMINISTIC = 0, CUDNN_DETERMINISTIC = 1 } cudnnDeterminism_t;
typedef enum { CUDNN_DEFAULT_MATH = 0, CUDNN_TENSOR_OP_MATH = 1, CUDNN_FMA_MATH = 3 } cudnnMathType_t;
typedef enum { FORWARD_ALGORITHM = 0 } cudnnConvolutionFwdAlgo_t;
typedef enum { DATA_ALGORITHM = 0 } cudnnConvolutionBwdDataAlgo_t;
typedef enum { FILTER_ALGORITHM = 0 } cudnnConvolutionBwdFilterAlgo_t;
typedef struct DnnHandle* cudnnHandle_t;
typedef struct DnnTensor* cudnnTensorDescriptor_t;
typedef struct DnnFilter* cudnnFilterDescriptor_t;
typedef struct DnnConvolution* cudnnConvolutionDescriptor_t;
template <class Algorithm> struct Choice {
    Algorithm algo;
    cudnnStatus_t status;
    float time;
    size_t memory;
    cudnnDeterminism_t determinism;
    cudnnMathType_t mathType;
    int reserved[3];
};
typedef Choice<cudnnConvolutionFwdAlgo_t> cudnnConvolutionFwdAlgoPerf_t;
typedef Choice<cudnnConvolutionBwdDataAlgo_t> cudnnConvolutionBwdDataAlgoPerf_t;
typedef Choice<cudnnConvolutionBwdFilterAlgo_t> cudnnConvolutionBwdFilterAlgoPerf_t;
#endif

namespace {

// The emulated device's stream, and the handles.
const uintptr_t STREAM = 0x57ae, BLAS = 0xb1a5, DNN = 0xd99;

enum class Type { Single, Double, Half, Brain };

size_t size_of(Type t) { return t == Type::Double ? 8 : t == Type::Single ? 4 : 2; }

double of_half(uint16_t h) {
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 31 ? (m ? NAN : INFINITY) : e ? std::ldexp(1024 + m, e - 25) : std::ldexp(m, -24);
    return h >> 15 ? -v : v;
}

uint16_t to_half(float x) {
    uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    double a = std::fabs(x);
    if (std::isnan(x)) return sign | 0x7e00;
    if (a == 0 || a >= 65520) return sign | (a == 0 ? 0 : 0x7c00);
    int e;
    std::frexp(a, &e);
    e = e < -13 ? -13 : e;
    // In units of the last place; a carry moves on to the next exponent by itself.
    int units = (int)std::nearbyint(std::ldexp(a, 11 - e));
    return sign | (uint16_t)(units + ((e + 13) << 10));
}

double load(Type t, const void* at, int64_t i) {
    switch (t) {
    case Type::Double: return ((const double*)at)[i];
    case Type::Single: return ((const float*)at)[i];
    case Type::Half: return of_half(((const uint16_t*)at)[i]);
    default: {
        uint32_t bits = (uint32_t)((const uint16_t*)at)[i] << 16;
        float v;
        std::memcpy(&v, &bits, 4);
        return v;
    }
    }
}

void store(Type t, void* at, int64_t i, double v) {
    switch (t) {
    case Type::Double: ((double*)at)[i] = v; return;
    case Type::Single: ((float*)at)[i] = (float)v; return;
    case Type::Half: ((uint16_t*)at)[i] = to_half((float)v); return;
    default: {
        float f = (float)v;
        uint32_t bits;
        std::memcpy(&bits, &f, 4);
        bits = std::isnan(f) ? 0x7fc00000 : bits + 0x7fff + (bits >> 16 & 1);
        ((uint16_t*)at)[i] = (uint16_t)(bits >> 16);
    }
    }
}

double factor(Type t, const void* at) { return t == Type::Double ? *(const double*)at : *(const float*)at; }

// With the ten bits of mantissa that TF32 has.
double shortened(double v) {
    if (!std::isfinite(v) || v == 0) return v;
    int e;
    std::frexp(v, &e);
    double unit = std::ldexp(1, e - 11);
    return std::nearbyint(v / unit) * unit;
}

bool aligned(const void* at, uint64_t to) { return (uintptr_t)at % to == 0; }

// Whether a workspace is one; what was in it is lost.
bool works_in(void* at, size_t bytes, size_t needed) {
    if (bytes < needed || (needed && (!at || !aligned(at, 256)))) return false;
    std::memset(at, 0xab, needed);
    return true;
}

// ---- cuBLASLt

struct Desc {
    cublasComputeType_t compute;
    cudaDataType scale;
    int32_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void* bias = nullptr;
};
struct Layout {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t leading;
    int32_t batch = 1;
    int64_t step = 0;
};
struct Preference {
    uint64_t workspace = 0;
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
    uint32_t alignment[4] = {256, 256, 256, 256};
};
const size_t WORKSPACE = 4096;

template <class T> cublasStatus_t put(T& to, const void* from, size_t bytes) {
    if (!from || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&to, from, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

bool known(cudaDataType from, Type& to) {
    switch (from) {
    case CUDA_R_32F: to = Type::Single; return true;
    case CUDA_R_64F: to = Type::Double; return true;
    case CUDA_R_16F: to = Type::Half; return true;
    case CUDA_R_16BF: to = Type::Brain; return true;
    default: return false;
    }
}

// What an algorithm was chosen for: everything but the alignments.
uint64_t trace(const Desc& d, const Layout& a, const Layout& b, const Layout& to) {
    uint64_t all = 1469598103934665603u;
    auto add = [&](uint64_t v) { all = (all ^ v) * 1099511628211u; };
    add(d.compute), add(d.scale), add(d.a), add(d.b), add(d.epilogue);
    for (const Layout* l : {&a, &b, &to})
        add(l->type), add(l->rows), add(l->columns), add(l->leading), add(l->batch), add(l->step);
    return all;
}

cublasStatus_t checked(const Desc& d, const Layout& a, const Layout& b, const Layout& to) {
    uint64_t m = to.rows, n = to.columns, k = d.a == CUBLAS_OP_T ? a.rows : a.columns;
    uint64_t want[2][2] = {{m, k}, {k, n}};
    Type type;
    if (!known(to.type, type) || a.type != to.type || b.type != to.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    bool wide = type == Type::Double;
    bool fits = wide ? d.compute == CUBLAS_COMPUTE_64F && d.scale == CUDA_R_64F
                     : d.scale == CUDA_R_32F &&
                           (d.compute == CUBLAS_COMPUTE_32F ||
                            (d.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && type == Type::Single));
    if (!fits) return CUBLAS_STATUS_NOT_SUPPORTED;
    // Not what the real library does: so that the way around it is taken.
    if (wide && d.epilogue != CUBLASLT_EPILOGUE_DEFAULT) return CUBLAS_STATUS_NOT_SUPPORTED;
    const Layout* operands[2] = {&a, &b};
    int32_t turned[2] = {d.a, d.b};
    for (int i = 0; i < 2; i++) {
        const Layout& l = *operands[i];
        bool t = turned[i] == CUBLAS_OP_T;
        if (l.rows != want[i][t] || l.columns != want[i][!t]) return CUBLAS_STATUS_INVALID_VALUE;
    }
    for (const Layout* l : {&a, &b, &to})
        if (!l->rows || !l->columns || l->leading < (int64_t)l->rows || l->batch != to.batch)
            return CUBLAS_STATUS_INVALID_VALUE;
    bool apart = to.batch == 1 || to.step >= (int64_t)(to.leading * (n - 1) + m);
    return apart ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

template <class To, class From> To* as(From handle) { return reinterpret_cast<To*>((uintptr_t)handle); }

}  // namespace

extern "C" {

size_t cublasLtGetVersion() { return 0; }

const char* cublasLtGetStatusString(cublasStatus_t) { return "the stand-in refuses"; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    *handle = (cublasLtHandle_t)BLAS;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* to, cublasComputeType_t compute, cudaDataType scale) {
    *to = as<std::remove_pointer_t<cublasLtMatmulDesc_t>>(new Desc{compute, scale});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    delete as<Desc>(desc);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void* from, size_t bytes) {
    Desc& d = *as<Desc>(desc);
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return put(d.a, from, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return put(d.b, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return put(d.epilogue, from, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return put(d.bias, from, bytes);
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* to, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
    *to = as<std::remove_pointer_t<cublasLtMatrixLayout_t>>(new Layout{type, rows, columns, leading});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete as<Layout>(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* from,
                                                size_t bytes) {
    Layout& l = *as<Layout>(layout);
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return put(l.batch, from, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return put(l.step, from, bytes);
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* to) {
    *to = as<std::remove_pointer_t<cublasLtMatmulPreference_t>>(new Preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete as<Preference>(preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* from,
                                                    size_t bytes) {
    Preference& p = *as<Preference>(preference);
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return put(p.workspace, from, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return put(p.reductions, from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return put(p.alignment[0], from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return put(p.alignment[1], from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return put(p.alignment[2], from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return put(p.alignment[3], from, bytes);
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
}

// The first result does not work, as the real library says of some.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int asked,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
    if ((uintptr_t)handle != BLAS || asked < 2) return CUBLAS_STATUS_INVALID_VALUE;
    Desc& what = *as<Desc>(desc);
    Layout &left = *as<Layout>(a), &right = *as<Layout>(b), &to = *as<Layout>(d);
    Preference& p = *as<Preference>(preference);
    Type type;
    cublasStatus_t status = checked(what, left, right, to);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    known(to.type, type);
    // Parts of sums in half types would be rounded.
    bool half = type == Type::Half || type == Type::Brain;
    if (c != d || p.workspace < WORKSPACE) return CUBLAS_STATUS_INVALID_VALUE;
    if (half && p.reductions != CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) return CUBLAS_STATUS_INVALID_VALUE;
    if (what.epilogue == CUBLASLT_EPILOGUE_BIAS && !what.bias) return CUBLAS_STATUS_INVALID_VALUE;
    for (uint32_t alignment : p.alignment)
        if (alignment < size_of(type)) return CUBLAS_STATUS_INVALID_VALUE;
    results[0] = results[1] = {};
    results[0].state = CUBLAS_STATUS_NOT_SUPPORTED;
    results[1].workspaceSize = WORKSPACE;
    uint64_t* data = results[1].algo.data;
    data[0] = BLAS;
    data[1] = trace(what, left, right, to);
    for (int i = 0; i < 4; i++) data[2 + i] = p.alignment[i];
    *found = 2;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha, const void* A,
                              cublasLtMatrixLayout_t a, const void* B, cublasLtMatrixLayout_t b, const void* beta,
                              const void* C, cublasLtMatrixLayout_t c, void* D, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t bytes,
                              cudaStream_t stream) {
    Desc& what = *as<Desc>(desc);
    Layout &left = *as<Layout>(a), &right = *as<Layout>(b), &to = *as<Layout>(d);
    const uint64_t* data = algorithm->data;
    bool chosen = data[0] == BLAS && data[1] == trace(what, left, right, to);
    bool placed = aligned(A, data[2]) && aligned(B, data[3]) && aligned(C, data[4]) && aligned(D, data[5]);
    bool ready = (uintptr_t)handle == BLAS && (uintptr_t)stream == STREAM && works_in(workspace, bytes, WORKSPACE);
    if (!chosen || !placed || !ready || C != D || c != d) return CUBLAS_STATUS_EXECUTION_FAILED;
    Type type;
    known(to.type, type);
    bool tf32 = what.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    bool ta = what.a == CUBLAS_OP_T, tb = what.b == CUBLAS_OP_T;
    int64_t m = to.rows, n = to.columns, k = ta ? left.rows : left.columns;
    double by = factor(type, alpha), keep = factor(type, beta);
    for (int64_t i = 0; i < to.batch; i++)
        for (int64_t column = 0; column < n; column++)
            for (int64_t row = 0; row < m; row++) {
                double sum = 0;
                for (int64_t l = 0; l < k; l++) {
                    int64_t at = i * left.step + (ta ? l + row * left.leading : row + l * left.leading);
                    int64_t bt = i * right.step + (tb ? column + l * right.leading : l + column * right.leading);
                    double x = load(type, A, at), y = load(type, B, bt);
                    sum += tf32 ? shortened(x) * shortened(y) : x * y;
                }
                int64_t at = i * to.step + row + column * to.leading;
                sum *= by;
                if (keep != 0) sum += keep * load(type, D, at);
                if (what.epilogue == CUBLASLT_EPILOGUE_BIAS) sum += load(type, what.bias, row);
                store(type, D, at, sum);
            }
    return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"

// ---- cuDNN

namespace {

struct Tensor {
    cudnnDataType_t type;
    std::vector<int> sizes, strides;
    bool channels_last = false; // Of a filter.
};
struct Convolution {
    std::vector<int> padding, stride, dilation;
    cudnnConvolutionMode_t mode;
    cudnnDataType_t compute;
    int groups = 1;
    cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};
cudaStream_t dnn_stream;

bool known(cudnnDataType_t from, Type& to) {
    switch (from) {
    case CUDNN_DATA_FLOAT: to = Type::Single; return true;
    case CUDNN_DATA_DOUBLE: to = Type::Double; return true;
    case CUDNN_DATA_HALF: to = Type::Half; return true;
    case CUDNN_DATA_BFLOAT16: to = Type::Brain; return true;
    default: return false;
    }
}

cudnnStatus_t checked(const Tensor& x, const Tensor& w, const Tensor& y, const Convolution& c) {
    Type type;
    if (!known(x.type, type) || w.type != x.type || y.type != x.type) return CUDNN_STATUS_NOT_SUPPORTED;
    size_t n = c.padding.size();
    if (x.sizes.size() != n + 2 || w.sizes.size() != n + 2 || y.sizes.size() != n + 2) return CUDNN_STATUS_BAD_PARAM;
    // What a filter's format says holds for the maps too.
    size_t inner = w.channels_last ? 1 : n + 1;
    if (x.strides[inner] != 1 || y.strides[inner] != 1) return CUDNN_STATUS_NOT_SUPPORTED;
    if (n < 2 || n > 3 || c.groups < 1 || c.mode != CUDNN_CROSS_CORRELATION) return CUDNN_STATUS_BAD_PARAM;
    if (c.compute != (type == Type::Double ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT)) return CUDNN_STATUS_NOT_SUPPORTED;
    bool fits = x.sizes[0] == y.sizes[0] && x.sizes[1] == w.sizes[1] * c.groups && y.sizes[1] == w.sizes[0] &&
                w.sizes[0] % c.groups == 0;
    for (size_t i = 0; i < n; i++) {
        if (c.padding[i] < 0 || c.stride[i] < 1 || c.dilation[i] < 1) return CUDNN_STATUS_BAD_PARAM;
        int room = x.sizes[i + 2] + 2 * c.padding[i] - (w.sizes[i + 2] - 1) * c.dilation[i] - 1;
        fits = fits && room >= 0 && y.sizes[i + 2] == room / c.stride[i] + 1;
    }
    return fits ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

int64_t extent(const Tensor& t) {
    int64_t last = 0;
    for (size_t i = 0; i < t.sizes.size(); i++) last += (int64_t)(t.sizes[i] - 1) * t.strides[i];
    return last + 1;
}

// Calls `f` with the offsets in input, weight and output of each product that a convolution takes.
template <class F> void walk(const Tensor& x, const Tensor& w, const Tensor& y, const Convolution& c, F f) {
    size_t n = c.padding.size();
    auto pick = [&](const std::vector<int>& v, size_t i) { return i < n ? v[i] : 0; };
    auto size = [&](const Tensor& t, size_t i) { return i < n ? t.sizes[i + 2] : 1; };
    auto step = [&](const Tensor& t, size_t i) { return i < n ? t.strides[i + 2] : 0; };
    int outs = w.sizes[0] / c.groups;
    for (int b = 0; b < y.sizes[0]; b++)
        for (int k = 0; k < w.sizes[0]; k++)
            for (int ch = 0; ch < w.sizes[1]; ch++) {
                int64_t xb = (int64_t)b * x.strides[0] + (int64_t)(k / outs * w.sizes[1] + ch) * x.strides[1];
                int64_t wb = (int64_t)k * w.strides[0] + (int64_t)ch * w.strides[1];
                int64_t yb = (int64_t)b * y.strides[0] + (int64_t)k * y.strides[1];
                int o[3], r[3];
                for (o[0] = 0; o[0] < size(y, 0); o[0]++)
                for (o[1] = 0; o[1] < size(y, 1); o[1]++)
                for (o[2] = 0; o[2] < size(y, 2); o[2]++)
                for (r[0] = 0; r[0] < size(w, 0); r[0]++)
                for (r[1] = 0; r[1] < size(w, 1); r[1]++)
                for (r[2] = 0; r[2] < size(w, 2); r[2]++) {
                    int64_t xo = xb, wo = wb, yo = yb;
                    bool inside = true;
                    for (size_t i = 0; i < 3; i++) {
                        int64_t at = (int64_t)o[i] * pick(c.stride, i) - pick(c.padding, i) +
                                     (int64_t)r[i] * pick(c.dilation, i);
                        inside = inside && at >= 0 && at < size(x, i);
                        xo += at * step(x, i), wo += (int64_t)r[i] * step(w, i), yo += (int64_t)o[i] * step(y, i);
                    }
                    if (inside) f(xo, wo, yo);
                }
            }
}

enum class Kind { Forward, Data, Filter };

// The real libraries have more algorithms; these two differ in workspace and determinism.
size_t needs(int algorithm) { return algorithm == 1 ? 1000 : 0; }

template <class R, class A> R choice(A algorithm, cudnnStatus_t status, const Convolution& c) {
    R r = {};
    r.algo = algorithm;
    r.status = status;
    r.memory = needs(algorithm);
    r.determinism = algorithm == 1 ? CUDNN_NON_DETERMINISTIC : CUDNN_DETERMINISTIC;
    r.mathType = c.math;
    return r;
}

// The best first, in front of it one that does not work.
template <class A, class R>
cudnnStatus_t choose(cudnnHandle_t handle, const Tensor& x, const Tensor& w, const Tensor& y, const Convolution& c,
                     int asked, int* found, R* results, bool timed) {
    if ((uintptr_t)handle != DNN || asked < 3) return CUDNN_STATUS_BAD_PARAM;
    cudnnStatus_t status = checked(x, w, y, c);
    if (status != CUDNN_STATUS_SUCCESS) return status;
    results[0] = choice<R>((A)2, CUDNN_STATUS_NOT_SUPPORTED, c);
    results[1] = choice<R>((A)(timed ? 0 : 1), CUDNN_STATUS_SUCCESS, c);
    results[2] = choice<R>((A)(timed ? 1 : 0), CUDNN_STATUS_SUCCESS, c);
    *found = 3;
    return CUDNN_STATUS_SUCCESS;
}

// As the above; the algorithms that are timed write their result.
template <class A, class R>
cudnnStatus_t time(cudnnHandle_t handle, const Tensor& x, const Tensor& w, const Tensor& y, const Convolution& c,
                   const Tensor& result, void* to, int asked, int* found, R* results, void* workspace, size_t bytes) {
    if (!works_in(workspace, bytes, needs(1))) return CUDNN_STATUS_EXECUTION_FAILED;
    cudnnStatus_t status = choose<A>(handle, x, w, y, c, asked, found, results, true);
    Type type;
    if (status == CUDNN_STATUS_SUCCESS && known(result.type, type))
        for (int64_t i = 0; i < extent(result); i++) store(type, to, i, NAN);
    return status;
}

cudnnStatus_t sized(const Tensor& x, const Tensor& w, const Tensor& y, const Convolution& c, int algorithm,
                    size_t* bytes) {
    if (algorithm > 1) return CUDNN_STATUS_NOT_SUPPORTED;
    *bytes = needs(algorithm);
    return checked(x, w, y, c);
}

cudnnStatus_t run(cudnnHandle_t handle, Kind kind, const Tensor& x, const Tensor& w, const Tensor& y,
                  const Convolution& c, const void* X, const void* W, const void* Y, void* to, const void* alpha,
                  const void* beta, int algorithm, void* workspace, size_t bytes) {
    cudnnStatus_t status = checked(x, w, y, c);
    if (status != CUDNN_STATUS_SUCCESS) return status;
    Type type;
    known(x.type, type);
    bool half = type == Type::Half || type == Type::Brain;
    if ((uintptr_t)handle != DNN || (uintptr_t)dnn_stream != STREAM || algorithm > 1 ||
        (half && c.math != CUDNN_TENSOR_OP_MATH) || !works_in(workspace, bytes, needs(algorithm)))
        return CUDNN_STATUS_EXECUTION_FAILED;
    bool tf32 = type == Type::Single && c.math == CUDNN_DEFAULT_MATH;
    auto read = [&](const void* from, int64_t i) {
        double v = load(type, from, i);
        return tf32 ? shortened(v) : v;
    };
    const Tensor& result = kind == Kind::Forward ? y : kind == Kind::Data ? x : w;
    std::vector<double> sums(extent(result));
    walk(x, w, y, c, [&](int64_t i, int64_t j, int64_t k) {
        if (kind == Kind::Forward) sums[k] += read(X, i) * read(W, j);
        if (kind == Kind::Data) sums[i] += read(Y, k) * read(W, j);
        if (kind == Kind::Filter) sums[j] += read(X, i) * read(Y, k);
    });
    double by = factor(type, alpha), keep = factor(type, beta);
    for (size_t i = 0; i < sums.size(); i++)
        store(type, to, i, by * sums[i] + (keep != 0 ? keep * load(type, to, i) : 0));
    return CUDNN_STATUS_SUCCESS;
}

const Tensor& tensor(const void* descriptor) { return *(const Tensor*)descriptor; }
const Convolution& convolution(const void* descriptor) { return *(const Convolution*)descriptor; }

}  // namespace

extern "C" {

size_t cudnnGetVersion() { return 90000; }

const char* cudnnGetErrorString(cudnnStatus_t) { return "the stand-in refuses"; }

void cudnnGetLastErrorString(char* text, size_t bytes) {
    if (bytes) *text = 0;
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
    *handle = (cudnnHandle_t)DNN;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t stream) {
    dnn_stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* to) {
    *to = (cudnnTensorDescriptor_t) new Tensor;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t t) {
    delete (Tensor*)t;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t t, cudnnDataType_t type, int n, const int sizes[],
                                         const int strides[]) {
    if (n < 4 || n > 8) return CUDNN_STATUS_BAD_PARAM;
    for (int i = 0; i < n; i++)
        if (sizes[i] < 1 || strides[i] < 1) return CUDNN_STATUS_BAD_PARAM;
    *(Tensor*)t = {type, {sizes, sizes + n}, {strides, strides + n}, false};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* to) {
    *to = (cudnnFilterDescriptor_t) new Tensor;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t t) {
    delete (Tensor*)t;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t t, cudnnDataType_t type, cudnnTensorFormat_t format,
                                         int n, const int sizes[]) {
    bool last = format == CUDNN_TENSOR_NHWC;
    if (n < 4 || n > 8 || (format != CUDNN_TENSOR_NCHW && !last)) return CUDNN_STATUS_BAD_PARAM;
    Tensor& to = *(Tensor*)t;
    to = {type, {sizes, sizes + n}, std::vector<int>(n), last};
    int step = last ? sizes[1] : 1;
    for (int i = n; i--;) {
        if (sizes[i] < 1) return CUDNN_STATUS_BAD_PARAM;
        if (last && i == 1) {
            to.strides[i] = 1;
            continue;
        }
        to.strides[i] = step;
        step *= sizes[i];
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* to) {
    *to = (cudnnConvolutionDescriptor_t) new Convolution;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t c) {
    delete (Convolution*)c;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t c, int n, const int padding[],
                                              const int stride[], const int dilation[], cudnnConvolutionMode_t mode,
                                              cudnnDataType_t compute) {
    *(Convolution*)c = {{padding, padding + n}, {stride, stride + n}, {dilation, dilation + n}, mode, compute};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t c, int groups) {
    ((Convolution*)c)->groups = groups;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t math) {
    ((Convolution*)c)->math = math;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t h, const cudnnTensorDescriptor_t x,
                                                     const cudnnFilterDescriptor_t w,
                                                     const cudnnConvolutionDescriptor_t c,
                                                     const cudnnTensorDescriptor_t y, const int asked, int* found,
                                                     cudnnConvolutionFwdAlgoPerf_t* results) {
    return choose<cudnnConvolutionFwdAlgo_t>(h, tensor(x), tensor(w), tensor(y), convolution(c), asked, found, results,
                                             false);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t h, const cudnnFilterDescriptor_t w,
                                                          const cudnnTensorDescriptor_t y,
                                                          const cudnnConvolutionDescriptor_t c,
                                                          const cudnnTensorDescriptor_t x, const int asked, int* found,
                                                          cudnnConvolutionBwdDataAlgoPerf_t* results) {
    return choose<cudnnConvolutionBwdDataAlgo_t>(h, tensor(x), tensor(w), tensor(y), convolution(c), asked, found,
                                                 results, false);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t h, const cudnnTensorDescriptor_t x,
                                                            const cudnnTensorDescriptor_t y,
                                                            const cudnnConvolutionDescriptor_t c,
                                                            const cudnnFilterDescriptor_t w, const int asked,
                                                            int* found, cudnnConvolutionBwdFilterAlgoPerf_t* results) {
    return choose<cudnnConvolutionBwdFilterAlgo_t>(h, tensor(x), tensor(w), tensor(y), convolution(c), asked, found,
                                                   results, false);
}

cudnnStatus_t cudnnFindConvolutionForwardAlgorithmEx(cudnnHandle_t h, const cudnnTensorDescriptor_t x, const void* X,
                                                     const cudnnFilterDescriptor_t w, const void* W,
                                                     const cudnnConvolutionDescriptor_t c,
                                                     const cudnnTensorDescriptor_t y, void* Y, const int asked,
                                                     int* found, cudnnConvolutionFwdAlgoPerf_t* results,
                                                     void* workspace, size_t bytes) {
    return time<cudnnConvolutionFwdAlgo_t>(h, tensor(x), tensor(w), tensor(y), convolution(c), tensor(y), Y, asked,
                                           found, results, workspace, bytes);
}

cudnnStatus_t cudnnFindConvolutionBackwardDataAlgorithmEx(cudnnHandle_t h, const cudnnFilterDescriptor_t w,
                                                          const void* W, const cudnnTensorDescriptor_t y,
                                                          const void* Y, const cudnnConvolutionDescriptor_t c,
                                                          const cudnnTensorDescriptor_t x, void* X, const int asked,
                                                          int* found, cudnnConvolutionBwdDataAlgoPerf_t* results,
                                                          void* workspace, size_t bytes) {
    return time<cudnnConvolutionBwdDataAlgo_t>(h, tensor(x), tensor(w), tensor(y), convolution(c), tensor(x), X, asked,
                                               found, results, workspace, bytes);
}

cudnnStatus_t cudnnFindConvolutionBackwardFilterAlgorithmEx(cudnnHandle_t h, const cudnnTensorDescriptor_t x,
                                                            const void* X, const cudnnTensorDescriptor_t y,
                                                            const void* Y, const cudnnConvolutionDescriptor_t c,
                                                            const cudnnFilterDescriptor_t w, void* W, const int asked,
                                                            int* found, cudnnConvolutionBwdFilterAlgoPerf_t* results,
                                                            void* workspace, size_t bytes) {
    return time<cudnnConvolutionBwdFilterAlgo_t>(h, tensor(x), tensor(w), tensor(y), convolution(c), tensor(w), W,
                                                 asked, found, results, workspace, bytes);
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t x,
                                                      const cudnnFilterDescriptor_t w,
                                                      const cudnnConvolutionDescriptor_t c,
                                                      const cudnnTensorDescriptor_t y, cudnnConvolutionFwdAlgo_t which,
                                                      size_t* bytes) {
    return sized(tensor(x), tensor(w), tensor(y), convolution(c), which, bytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, const cudnnFilterDescriptor_t w,
                                                           const cudnnTensorDescriptor_t y,
                                                           const cudnnConvolutionDescriptor_t c,
                                                           const cudnnTensorDescriptor_t x,
                                                           cudnnConvolutionBwdDataAlgo_t which, size_t* bytes) {
    return sized(tensor(x), tensor(w), tensor(y), convolution(c), which, bytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t x,
                                                             const cudnnTensorDescriptor_t y,
                                                             const cudnnConvolutionDescriptor_t c,
                                                             const cudnnFilterDescriptor_t w,
                                                             cudnnConvolutionBwdFilterAlgo_t which, size_t* bytes) {
    return sized(tensor(x), tensor(w), tensor(y), convolution(c), which, bytes);
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t h, const void* alpha, const cudnnTensorDescriptor_t x,
                                      const void* X, const cudnnFilterDescriptor_t w, const void* W,
                                      const cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t which,
                                      void* workspace, size_t bytes, const void* beta,
                                      const cudnnTensorDescriptor_t y, void* Y) {
    return run(h, Kind::Forward, tensor(x), tensor(w), tensor(y), convolution(c), X, W, nullptr, Y, alpha, beta, which,
               workspace, bytes);
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t h, const void* alpha, const cudnnFilterDescriptor_t w,
                                           const void* W, const cudnnTensorDescriptor_t y, const void* Y,
                                           const cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdDataAlgo_t which,
                                           void* workspace, size_t bytes, const void* beta,
                                           const cudnnTensorDescriptor_t x, void* X) {
    return run(h, Kind::Data, tensor(x), tensor(w), tensor(y), convolution(c), nullptr, W, Y, X, alpha, beta, which,
               workspace, bytes);
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t h, const void* alpha, const cudnnTensorDescriptor_t x,
                                             const void* X, const cudnnTensorDescriptor_t y, const void* Y,
                                             const cudnnConvolutionDescriptor_t c,
                                             cudnnConvolutionBwdFilterAlgo_t which, void* workspace, size_t bytes,
                                             const void* beta, const cudnnFilterDescriptor_t w, void* W) {
    return run(h, Kind::Filter, tensor(x), tensor(w), tensor(y), convolution(c), X, nullptr, Y, W, alpha, beta, which,
               workspace, bytes);
}

}  // extern "C"
