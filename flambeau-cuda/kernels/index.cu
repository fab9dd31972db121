// Picking elements by position, and putting them there.
//
// Defines: ELEMENT (what is moved: any type of the right size, or for sums the elements' own), ACC
// (what sums run in; ELEMENT where nothing is added), INDEX (the index tensor's type). Launch: 256
// threads, any number of blocks. Sums and overwriting have one order: places are sorted first (sort.cu,
// stable), and one thread puts all that belongs to a place. An index out of range is reported,
// and what it stands for is not touched.
#include "common.cuh"

typedef ELEMENT T;

// `flat` = `flat` * size + index, or the index alone where `first`: row by row, the position among
// several indexed dimensions. Negative indices count from the end where `wrap`.
extern "C" __global__ void __launch_bounds__(256)
flatten_index(const INDEX* index, i64* flat, Layout<1> layout, i64 n, i64 size, int first, int wrap,
              Fault* fault) {
    for (i64 i = global_thread(); i < n; i += global_threads()) {
        i64 at = (i64)index[offset_of(layout, i)];
        if (wrap && at < 0) at += size;
        if (at < 0 || at >= size) {
            report(fault, (i64)index[offset_of(layout, i)], size);
            at = 0;
        }
        flat[i] = first ? at : flat[i] * size + at;
    }
}

// out[f][i][b] = x at `rest` of (f, b) and `indexed` of positions[i]; out [front, count, back].
extern "C" __global__ void __launch_bounds__(256)
pick(const T* x, const i64* positions, T* out, Layout<1> rest, Layout<1> indexed, i64 count,
     i64 back, i64 n) {
    for (i64 i = global_thread(); i < n; i += global_threads()) {
        i64 run = quotient(i, back), f = quotient(run, count), b = i - run * back, k = run - f * count;
        out[i] = x[offset_of(rest, f * back + b) + offset_of(indexed, positions[k])];
    }
}

// The counterpart: src [front, count, back] goes to `out`, which holds the tensor before. `sorted`
// are the positions in ascending order, `order` where each stood. Where `add`, what several sources
// bring to a place is added up in their order; else the last one stays.
extern "C" __global__ void __launch_bounds__(256)
put(T* out, const T* src, const i64* sorted, const i64* order, Layout<1> rest, Layout<1> indexed,
    i64 count, i64 back, i64 others, i64 n, int add) {
    for (i64 i = global_thread(); i < n; i += global_threads()) {
        i64 k = quotient(i, others), r = i - k * others, position = sorted[k];
        if (k > 0 && sorted[k - 1] == position) continue;
        i64 f = quotient(r, back), b = r - f * back;
        T* to = out + offset_of(rest, r) + offset_of(indexed, position);
        const T* from = src + f * count * back + b;
        if (add) {
            ACC sum = convert<ACC>(*to);
            for (; k < count && sorted[k] == position; k++)
                sum += convert<ACC>(from[order[k] * back]);
            *to = convert<T>(sum);
        } else {
            while (k + 1 < count && sorted[k + 1] == position) k++;
            *to = from[order[k] * back];
        }
    }
}

// out[i] = the element of x that index i names; `layout` has the index's sizes, its strides, and
// those of x with 0 along the indexed dimension, whose stride is `step` and whose size `size`.
extern "C" __global__ void __launch_bounds__(256)
gather(const T* x, const INDEX* index, T* out, Layout<2> layout, i64 step, i64 size, i64 n,
       Fault* fault) {
    for (i64 i = global_thread(); i < n; i += global_threads()) {
        i64 at[2];
        offsets<u64>(layout, (u64)i, at);
        i64 k = (i64)index[at[0]];
        if (k < 0 || k >= size)
            report(fault, k, size);
        else
            out[i] = x[at[1] + k * step];
    }
}

// Where each element of a scatter goes in a contiguous tensor; arguments as of `gather`.
extern "C" __global__ void __launch_bounds__(256)
scatter_places(const INDEX* index, i64* places, Layout<2> layout, i64 step, i64 size, i64 n,
               Fault* fault) {
    for (i64 i = global_thread(); i < n; i += global_threads()) {
        i64 at[2];
        offsets<u64>(layout, (u64)i, at);
        i64 k = (i64)index[at[0]];
        if (k < 0 || k >= size) {
            report(fault, k, size);
            k = 0;
        }
        places[i] = at[1] + k * step;
    }
}

// The positions of what is not zero, in order; `counted` is the running count (scan.cu) of them.
extern "C" __global__ void __launch_bounds__(256)
compact(const T* mask, const i64* counted, i64* out, i64 n) {
    for (i64 i = global_thread(); i < n; i += global_threads())
        if (convert<bool>(mask[i])) out[counted[i] - 1] = i;
}
