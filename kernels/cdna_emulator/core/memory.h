/* Memory of this process as kernels see it: every access is looked up in Launch.allocation, checked and counted. */
#ifndef MEMORY_H
#define MEMORY_H

#include "cdna.h"

#define INLINE static inline __attribute__((always_inline))
#define LINE_SHIFT 7 /* 128-byte lines, as the L2 of MI300 and MI350 */

typedef enum { ACCESS_LOAD, ACCESS_STORE, ACCESS_ATOMIC } Access;

/* The allocation that holds all of [lo, hi), or NULL. Most accesses hit the allocation that the last one hit. */
static inline Allocation *allocation_of(Launch *launch, uint64_t lo, uint64_t hi) {
    if (hi < lo) return NULL;
    if (launch->hint < launch->allocations) {
        Allocation *last = &launch->allocation[launch->hint];
        if (lo >= last->lo && hi <= last->hi) return last;
    }
    uint32_t begin = 0, end = launch->allocations; /* the first allocation that starts after lo is in [begin, end] */
    while (begin < end) {
        uint32_t middle = (begin + end) / 2;
        if (launch->allocation[middle].lo <= lo) begin = middle + 1;
        else end = middle;
    }
    if (begin == 0 || hi > launch->allocation[begin - 1].hi) return NULL;
    launch->hint = begin - 1;
    return &launch->allocation[begin - 1];
}

/* Fills launch->fault and hands `status` back; `format` may be NULL. */
Status memory_fault(Launch *launch, const Wave *wave, const Insn *insn, Status status, uint32_t lane, uint64_t address,
                    uint32_t bytes, bool store, const char *format, ...) __attribute__((format(printf, 9, 10)));

/* Checks and counts an access of `bytes` bytes at address[lane] by each lane in mask. Nothing is moved. */
Status memory_touch(Launch *launch, Wave *wave, const Insn *insn, const uint64_t address[LANES], uint64_t mask,
                    uint32_t bytes, Access access);

/* LDS: checks that [address, address + bytes) lies inside and is allowed by the checks that are on. */
Status lds_touch(Launch *launch, Wave *wave, const Insn *insn, const uint32_t address[LANES], uint64_t mask,
                 uint32_t bytes, int watch_access);

#endif
