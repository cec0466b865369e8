/* Checking and counting what kernels ask of memory. The data itself is moved in global.c, atomic.c and lds.c. */
#include "memory.h"

#include <stdarg.h>
#include <stdio.h>

#include "watch.h"

Status memory_fault(Launch *launch, const Wave *wave, const Insn *insn, Status status, uint32_t lane, uint64_t address,
                    uint32_t bytes, bool store, const char *format, ...) {
    Fault *fault = &launch->fault;
    memset(fault, 0, sizeof *fault);
    fault->instruction = (uint32_t)(insn - launch->code);
    fault->lane = lane;
    fault->wave = wave->number;
    memcpy(fault->group, wave->group->id, sizeof fault->group);
    fault->address = address;
    fault->bytes = bytes;
    fault->store = store;
    if (format) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(fault->what, sizeof fault->what, format, arguments);
        va_end(arguments);
    }
    return status;
}

/* ---- the distinct 128-byte lines of one instruction ----------------------------------------------------------- */

enum { SLOTS = 256 }; /* more than twice the 128 lines that 64 lanes can touch, each crossing one boundary at most */

typedef struct {
    uint64_t last;          /* the line seen last, plus one */
    uint64_t count;
    bool hashed;
    uint32_t listed;
    uint64_t list[SLOTS / 2]; /* ascending lines, while the lanes come in ascending order */
    uint64_t slot[SLOTS];   /* then a hash set of lines plus one */
} Lines;

static bool lines_insert(Lines *lines, uint64_t line) {
    uint32_t at = (uint32_t)(line * 0x9E3779B97F4A7C15u >> 56);
    while (lines->slot[at]) {
        if (lines->slot[at] == line + 1) return false;
        at = (at + 1) % SLOTS;
    }
    lines->slot[at] = line + 1;
    return true;
}

/* Notes line number `number` of an allocation. */
static void lines_add(Lines *lines, const Launch *launch, Allocation *allocation, uint64_t number) {
    uint64_t line = (uint64_t)(allocation - launch->allocation) << 48 | number; /* ascending with the address */
    if (lines->last == line + 1) return;
    if (!lines->hashed && line + 1 < lines->last) { /* out of order: what came so far becomes a set */
        memset(lines->slot, 0, sizeof lines->slot);
        for (uint32_t i = 0; i < lines->listed; i++) lines_insert(lines, lines->list[i]);
        lines->hashed = true;
    }
    lines->last = line + 1;
    if (lines->hashed) {
        if (!lines_insert(lines, line)) return;
    } else {
        lines->list[lines->listed++] = line;
    }
    lines->count++;
    if (allocation->lines) allocation->lines[number >> 6] |= 1ull << (number & 63);
}

/* ---- one instruction's access ---------------------------------------------------------------------------------- */

static void address_range(const uint64_t address[LANES], uint64_t mask, uint64_t *lo, uint64_t *hi) {
    uint64_t least = UINT64_MAX, most = 0;
    if (mask == UINT64_MAX) {
        for (int lane = 0; lane < LANES; lane++) {
            least = address[lane] < least ? address[lane] : least;
            most = address[lane] > most ? address[lane] : most;
        }
    } else {
        for (uint64_t rest = mask; rest; rest &= rest - 1) {
            uint64_t value = address[__builtin_ctzll(rest)];
            least = value < least ? value : least;
            most = value > most ? value : most;
        }
    }
    *lo = least;
    *hi = most;
}

static Status touch_written(Launch *launch, Wave *wave, const Insn *insn, Allocation *allocation, uint32_t lane,
                            uint64_t address, uint32_t bytes, Access access) {
    uint8_t *written = allocation->written + (address - allocation->lo);
    if (access != ACCESS_STORE && launch->check_undefined && memchr(written, 0, bytes))
        return memory_fault(launch, wave, insn, STATUS_UNDEFINED_READ, lane, address, bytes, false, NULL);
    if (access != ACCESS_LOAD) memset(written, 1, bytes);
    return STATUS_OK;
}

Status memory_touch(Launch *launch, Wave *wave, const Insn *insn, const uint64_t address[LANES], uint64_t mask,
                    uint32_t bytes, Access access) {
    if (mask == 0) return STATUS_OK;
    uint64_t lo, hi;
    address_range(address, mask, &lo, &hi);
    Allocation *whole = hi + bytes < hi ? NULL : allocation_of(launch, lo, hi + bytes);
    Lines lines;
    lines.last = lines.count = 0;
    lines.hashed = false;
    lines.listed = 0;
    for (uint64_t rest = mask; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest);
        uint64_t at = address[lane];
        Allocation *allocation = whole ? whole : allocation_of(launch, at, at + bytes);
        if (!allocation)
            return memory_fault(launch, wave, insn, STATUS_OUT_OF_BOUNDS, lane, at, bytes, access != ACCESS_LOAD, NULL);
        if (access != ACCESS_STORE) allocation->load_bytes += bytes;
        if (access != ACCESS_LOAD) allocation->store_bytes += bytes;
        /* As if the allocation began on a line, as it does on a card: where it lies in this process is chance. */
        uint64_t first = (at - allocation->lo) >> LINE_SHIFT, last = (at - allocation->lo + bytes - 1) >> LINE_SHIFT;
        lines_add(&lines, launch, allocation, first);
        if (last != first) lines_add(&lines, launch, allocation, last);
        if (allocation->written) {
            Status status = touch_written(launch, wave, insn, allocation, lane, at, bytes, access);
            if (status != STATUS_OK) return status;
        }
    }
    Counters *counters = &launch->counters;
    uint64_t total = (uint64_t)__builtin_popcountll(mask) * bytes;
    if (access == ACCESS_LOAD) counters->load_bytes += total;
    else if (access == ACCESS_STORE) counters->store_bytes += total;
    else counters->atomic_bytes += total;
    counters->instruction_lines += lines.count;
    return STATUS_OK;
}

/* ---- LDS --------------------------------------------------------------------------------------------------------- */

Status lds_touch(Launch *launch, Wave *wave, const Insn *insn, const uint32_t address[LANES], uint64_t mask,
                 uint32_t bytes, int watch_access) {
    bool watched = wave->group->shadow != NULL;
    if (mask == UINT64_MAX && !watched) { /* the usual case, vectorised */
        uint32_t most = 0;
        for (int lane = 0; lane < LANES; lane++) most = address[lane] > most ? address[lane] : most;
        if ((uint64_t)most + bytes <= launch->lds_bytes) return STATUS_OK;
    }
    for (uint64_t rest = mask; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest);
        if ((uint64_t)address[lane] + bytes > launch->lds_bytes)
            return memory_fault(launch, wave, insn, STATUS_LDS_OUT_OF_BOUNDS, lane, address[lane], bytes,
                                watch_access != WATCH_READ, "LDS holds %u bytes", launch->lds_bytes);
        if (watched) {
            Status status = watch_lds(launch, wave, insn, lane, address[lane], bytes, (WatchAccess)watch_access);
            if (status != STATUS_OK) return status;
        }
    }
    return STATUS_OK;
}
