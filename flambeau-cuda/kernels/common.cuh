// What every kernel file includes: element types, conversions, index arithmetic, reductions over
// a warp and a block, dynamic shared memory.
//
// The same text is compiled by NVRTC for a GPU and, in the tests, by a C++ compiler with
// src/emulate/emulate.h in front. It includes no header of CUDA, so that a machine needs none.
#pragma once

typedef long long i64;
typedef unsigned long long u64;
typedef signed char i8;
typedef unsigned char u8;
typedef short i16;

// Memory that the launch sizes, as an array of T called `name`.
#ifdef FLAMBEAU_EMULATE
#define DYNAMIC_SHARED(T, name) T* name = (T*)emulate::dynamic_shared_memory
#else
#define DYNAMIC_SHARED(T, name)                                                                    \
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];                         \
    T* name = (T*)dynamic_shared_memory
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif
