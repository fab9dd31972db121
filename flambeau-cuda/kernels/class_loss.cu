// Negative log-likelihood of class indices, fused with log-softmax: cross-entropy.
//
// Rows [rows, classes] of logits (LOGITS 1) or log-probabilities (0), targets [rows], weights
// [classes] in ACC or null. The loss of a row with target y is
// -((1 - s) w[y] l[y] + s / C sum of w[c] l[c]); rows whose target is `ignore` count for nothing.
//
// Defines: ELEMENT (logits, losses and gradients), ACC, LOGITS. `class_loss_rows` and `class_loss_backward`:
// a block for each row, any multiple of 32 threads. `class_loss_sum`: one block. Sums over rows run
// in double and in a fixed order.
#include "common.cuh"

typedef ELEMENT T;

extern "C" __global__ void __launch_bounds__(1024)
class_loss_rows(const T* x, const i64* target, const ACC* weight,
                                           ACC* log_probabilities, double* losses, double* weights,
                                           i64 classes, i64 ignore, double smoothing, Fault* fault) {
    const T* row = x + blockIdx.x * classes;
    ACC* l = log_probabilities + blockIdx.x * classes;
    ACC shift = 0;
    if (LOGITS) {
        ACC best = lowest<ACC>(), sum = 0;
        each_of_row(row, 0, classes, threadIdx.x, blockDim.x, [&](i64, T v) {
            if (convert<ACC>(v) > best) best = convert<ACC>(v);
        });
        best = block_reduce(best, lowest<ACC>(), [](ACC a, ACC b) { return b > a ? b : a; });
        each_of_row(row, 0, classes, threadIdx.x, blockDim.x,
                    [&](i64, T v) { sum += exp(convert<ACC>(v) - best); });
        sum = log(block_sum(sum));
        write_row(l, classes, [&](i64 i) { return convert<ACC>(row[i]) - best - sum; });
        shift = best + sum;
    } else {
        write_row(l, classes, [&](i64 i) { return convert<ACC>(row[i]); });
    }
    double spread = 0;
    if (smoothing > 0) {
        each_of_row(row, 0, classes, threadIdx.x, blockDim.x, [&](i64 i, T v) {
            spread += (weight ? (double)weight[i] : 1.0) * (double)(convert<ACC>(v) - shift);
        });
        spread = block_sum(spread);
    }
    if (threadIdx.x != 0) return;
    i64 y = target[blockIdx.x];
    bool counts = y != ignore;
    if (counts && (y < 0 || y >= classes)) {
        report(fault, y, classes);
        counts = false;
    }
    double w = counts ? (weight ? (double)weight[y] : 1.0) : 0.0, loss = 0;
    if (counts) {
        loss = -(1 - smoothing) * w * (double)(convert<ACC>(row[y]) - shift);
        if (smoothing > 0) loss -= smoothing / (double)classes * spread;
    }
    losses[blockIdx.x] = loss;
    weights[blockIdx.x] = w;
}

// `total` gets the sum of the weights; `out` the sum of the losses, divided by it where `mean`. With
// `out` null the total alone.
extern "C" __global__ void __launch_bounds__(1024)
class_loss_sum(const double* losses, const double* weights, T* out,
                                          float* total, i64 rows, int mean) {
    double loss = 0, weight = 0;
    for (i64 i = threadIdx.x; i < rows; i += blockDim.x) loss += losses[i], weight += weights[i];
    loss = block_sum(loss);
    weight = block_sum(weight);
    if (threadIdx.x != 0) return;
    *total = (float)weight;
    if (out) *out = convert<T>(mean ? loss / weight : loss);
}

// The gradient of the rows from that of the loss, `grad`: one number, or one for each row.
// `weight_sum` is the sum of all class weights, `total` what the mean divides by, or null.
extern "C" __global__ void __launch_bounds__(1024)
class_loss_backward(const ACC* l, const i64* target, const ACC* weight,
                                               const T* grad, int each, const float* total, T* out,
                                               i64 classes, i64 ignore, double smoothing) {
    const ACC* row = l + blockIdx.x * classes;
    T* to = out + blockIdx.x * classes;
    i64 y = target[blockIdx.x];
    if (y == ignore || y < 0 || y >= classes) {
        write_row(to, classes, [&](i64) { return convert<T>(0.0f); });
        return;
    }
    double spread = smoothing / (double)classes, all = 0;
    if (LOGITS && smoothing > 0) {
        double sum = 0;
        for (i64 c = threadIdx.x; c < classes; c += blockDim.x) sum += weight ? (double)weight[c] : 1.0;
        all = block_sum(sum) * spread;
    }
    double g = (double)convert<ACC>(grad[each ? blockIdx.x : 0]);
    if (total) g /= (double)*total;
    double of_target = (1 - smoothing) * (weight ? (double)weight[y] : 1.0);
    ACC mass = (ACC)(g * (of_target + all));
    write_row(to, classes, [&](i64 c) {
        ACC v = LOGITS ? exp(row[c]) * mass : (ACC)0;
        if (smoothing > 0) v -= (ACC)(g * spread * (weight ? (double)weight[c] : 1.0));
        if (c == y) v -= (ACC)(g * of_target);
        return convert<T>(v);
    });
}
