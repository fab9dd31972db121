// Tells the host of what should hold and does not, without its waiting: a single thread.
#include "common.cuh"

extern "C" __global__ void check(const bool* holds, Fault* fault, i64 message) {
    if (!*holds) report(fault, message, 0, 2);
}
