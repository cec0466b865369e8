/* What lds.c and lds_atomic.c share. */
#ifndef LDS_H
#define LDS_H

#include "atomics.h"
#include "banks.h"
#include "operands.h"
#include "watch.h"

/* Insn.src of a DS instruction. */
enum { DS_ADDRESS, DS_DATA0, DS_DATA1 };

INLINE void find_address(const Wave *wave, const Insn *insn, uint32_t offset, uint32_t address[LANES]) {
    const uint32_t *base = wave->v[insn->src[DS_ADDRESS].index];
    for (int lane = 0; lane < LANES; lane++) address[lane] = base[lane] + offset;
}

/* One access of the LDS by the lanes in EXEC: checked, and counted. */
INLINE Status lds_access(Launch *launch, Wave *wave, const Insn *insn, const uint32_t address[LANES], uint32_t bytes,
                         WatchAccess kind, BankUse use) {
    uint64_t exec = exec_mask(wave), total = (uint64_t)__builtin_popcountll(exec) * bytes;
    if (exec == 0) return STATUS_OK;
    Status status = lds_touch(launch, wave, insn, address, exec, bytes, kind);
    if (status != STATUS_OK) return status;
    if (kind != WATCH_WRITE) launch->counters.lds_read_bytes += total;
    if (kind != WATCH_READ) launch->counters.lds_write_bytes += total;
    launch->counters.lds_bank_conflicts += bank_conflicts(launch->arch, address, exec, bytes, use);
    return STATUS_OK;
}

/* Atomics: X(name, name of the form that returns, bytes, new value from old, a (data0) and b (data1)). */
#define LDS_ATOMICS(X)                                                                                                 \
    X(add_u32, add_rtn_u32, 4, add_32(old, a, b))                                                                      \
    X(sub_u32, sub_rtn_u32, 4, sub_32(old, a, b))                                                                      \
    X(rsub_u32, rsub_rtn_u32, 4, rsub_32(old, a, b))                                                                   \
    X(inc_u32, inc_rtn_u32, 4, inc_32(old, a, b))                                                                      \
    X(dec_u32, dec_rtn_u32, 4, dec_32(old, a, b))                                                                      \
    X(min_i32, min_rtn_i32, 4, smin_32(old, a, b))                                                                     \
    X(max_i32, max_rtn_i32, 4, smax_32(old, a, b))                                                                     \
    X(min_u32, min_rtn_u32, 4, umin_32(old, a, b))                                                                     \
    X(max_u32, max_rtn_u32, 4, umax_32(old, a, b))                                                                     \
    X(and_b32, and_rtn_b32, 4, and_32(old, a, b))                                                                      \
    X(or_b32, or_rtn_b32, 4, or_32(old, a, b))                                                                         \
    X(xor_b32, xor_rtn_b32, 4, xor_32(old, a, b))                                                                      \
    X(mskor_b32, mskor_rtn_b32, 4, mskor_32(old, a, b))                                                                \
    X(cmpst_b32, cmpst_rtn_b32, 4, compare_32(old, a, b))                                                              \
    X(cmpst_f32, cmpst_rtn_f32, 4, compare_f32(old, a, b))                                                             \
    X(min_f32, min_rtn_f32, 4, min_f32(old, a, b))                                                                     \
    X(max_f32, max_rtn_f32, 4, max_f32(old, a, b))                                                                     \
    X(add_f32, add_rtn_f32, 4, add_f32(old, a, b))                                                                     \
    X(pk_add_f16, pk_add_rtn_f16, 4, pk_add_f16(old, a, b))                                                            \
    X(pk_add_bf16, pk_add_rtn_bf16, 4, pk_add_bf16(old, a, b))                                                         \
    X(wrxchg_b32, wrxchg_rtn_b32, 4, swap_32(old, a, b))                                                               \
    X(wrap_b32, wrap_rtn_b32, 4, wrap_32(old, a, b))                                                                   \
    X(add_u64, add_rtn_u64, 8, add_64(old, a, b))                                                                      \
    X(sub_u64, sub_rtn_u64, 8, sub_64(old, a, b))                                                                      \
    X(rsub_u64, rsub_rtn_u64, 8, rsub_64(old, a, b))                                                                   \
    X(inc_u64, inc_rtn_u64, 8, inc_64(old, a, b))                                                                      \
    X(dec_u64, dec_rtn_u64, 8, dec_64(old, a, b))                                                                      \
    X(min_i64, min_rtn_i64, 8, smin_64(old, a, b))                                                                     \
    X(max_i64, max_rtn_i64, 8, smax_64(old, a, b))                                                                     \
    X(min_u64, min_rtn_u64, 8, umin_64(old, a, b))                                                                     \
    X(max_u64, max_rtn_u64, 8, umax_64(old, a, b))                                                                     \
    X(and_b64, and_rtn_b64, 8, and_64(old, a, b))                                                                      \
    X(or_b64, or_rtn_b64, 8, or_64(old, a, b))                                                                         \
    X(xor_b64, xor_rtn_b64, 8, xor_64(old, a, b))                                                                      \
    X(mskor_b64, mskor_rtn_b64, 8, mskor_64(old, a, b))                                                                \
    X(cmpst_b64, cmpst_rtn_b64, 8, compare_64(old, a, b))                                                              \
    X(cmpst_f64, cmpst_rtn_f64, 8, compare_f64(old, a, b))                                                             \
    X(min_f64, min_rtn_f64, 8, min_f64(old, a, b))                                                                     \
    X(max_f64, max_rtn_f64, 8, max_f64(old, a, b))                                                                     \
    X(add_f64, add_rtn_f64, 8, add_f64(old, a, b))                                                                     \
    X(wrxchg_b64, wrxchg_rtn_b64, 8, swap_64(old, a, b))

#define DECLARE_LDS_ATOMIC(name, returning, bytes, expression)                                                         \
    Status lds_##name(Launch *launch, Wave *wave, const Insn *insn);                                                   \
    Status lds_##returning(Launch *launch, Wave *wave, const Insn *insn);
LDS_ATOMICS(DECLARE_LDS_ATOMIC)

#endif
