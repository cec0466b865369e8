/* Branches, barriers, waits, traps and hardware registers: SOPP, and SOP1 and SOPK that jump or touch MODE. */
#include "operands.h"

#define OPERATION(NAME) static Status NAME(Launch *launch, Wave *w, const Insn *insn)

/* ---- branches ---------------------------------------------------------------------------------------------------- */

#define BRANCHES(X)                                                                                                      \
    X(s_branch, true)                                                                                                    \
    X(s_cbranch_scc0, !w->scc)                                                                                           \
    X(s_cbranch_scc1, w->scc)                                                                                            \
    X(s_cbranch_vccz, sgpr64(w, SGPR_VCC) == 0)                                                                          \
    X(s_cbranch_vccnz, sgpr64(w, SGPR_VCC) != 0)                                                                         \
    X(s_cbranch_execz, exec_mask(w) == 0)                                                                                \
    X(s_cbranch_execnz, exec_mask(w) != 0)                                                                               \
    X(s_cbranch_cdbgsys, false) /* no debugger */                                                                        \
    X(s_cbranch_cdbguser, false)                                                                                         \
    X(s_cbranch_cdbgsys_or_user, false)                                                                                  \
    X(s_cbranch_cdbgsys_and_user, false)

#define DEFINE_BRANCH(NAME, TAKEN)                                                                                       \
    OPERATION(NAME) {                                                                                                    \
        (void)launch;                                                                                                    \
        if (TAKEN) w->pc = (uint32_t)insn->target;                                                                       \
        return STATUS_OK;                                                                                                \
    }
BRANCHES(DEFINE_BRANCH)

static uint64_t next_address(const Launch *launch, const Insn *insn) { return launch->text + insn->pc + insn->size; }

static Status jump_to(Launch *launch, Wave *w, const Insn *insn, uint64_t address) {
    uint32_t begin = 0, end = launch->length;
    while (begin < end) {
        uint32_t middle = (begin + end) / 2;
        if (launch->text + launch->code[middle].pc < address) begin = middle + 1;
        else end = middle;
    }
    if (begin == launch->length || launch->text + launch->code[begin].pc != address)
        return cdna_unsupported(launch, insn, "a jump to 0x%llx, where no instruction starts",
                                (unsigned long long)address);
    w->pc = begin;
    return STATUS_OK;
}

OPERATION(s_getpc_b64) {
    set_sgpr64(w, insn->dst.index, next_address(launch, insn));
    return STATUS_OK;
}

OPERATION(s_setpc_b64) { return jump_to(launch, w, insn, scalar64(w, &insn->src[0])); }

OPERATION(s_swappc_b64) {
    uint64_t address = scalar64(w, &insn->src[0]);
    set_sgpr64(w, insn->dst.index, next_address(launch, insn));
    return jump_to(launch, w, insn, address);
}

OPERATION(s_call_b64) {
    set_sgpr64(w, insn->dst.index, next_address(launch, insn));
    w->pc = (uint32_t)insn->target;
    return STATUS_OK;
}

/* ---- the end, barriers, what does nothing here -------------------------------------------------------------------- */

OPERATION(end_program) {
    (void)launch, (void)w, (void)insn;
    return STATUS_END;
}

OPERATION(barrier) {
    (void)launch, (void)w, (void)insn;
    return STATUS_BARRIER;
}

OPERATION(nothing) { /* waits, hints and caches: memory is instantaneous; watch.c checks the waits */
    (void)launch, (void)w, (void)insn;
    return STATUS_OK;
}

OPERATION(trap) {
    (void)w;
    cdna_unsupported(launch, insn, "trap %d: a device-side assertion, or code that must not be reached", insn->imm);
    return STATUS_TRAP;
}

/* ---- hardware registers -------------------------------------------------------------------------------------------- */

enum { HWREG_MODE = 1, HWREG_HW_ID = 4, HWREG_XCC_ID = 20 };
/* Denormals, DX10_CLAMP, IEEE and FP16_OVFL. Rounding other than to nearest even, exceptions and register indexing are
 * not modelled. */
#define MODE_MODELLED (0xFu << 4 | 1u << 8 | 1u << 9 | 1u << 23)

static uint32_t field_mask(uint32_t hwreg, uint32_t *offset) {
    uint32_t width = (hwreg >> 11 & 31) + 1;
    *offset = hwreg >> 6 & 31;
    return (width == 32 ? UINT32_MAX : (1u << width) - 1) << *offset;
}

static Status set_register(Launch *launch, Wave *w, const Insn *insn) {
    uint32_t offset, mask = field_mask(insn->extra, &offset), number = insn->extra & 63;
    if (number != HWREG_MODE) return cdna_unsupported(launch, insn, "s_setreg of hardware register %u", number);
    uint32_t mode = (w->mode & ~mask) | (scalar32(w, &insn->src[0]) << offset & mask);
    if ((mode ^ w->mode) & ~MODE_MODELLED)
        return cdna_unsupported(launch, insn, "s_setreg of MODE from 0x%x to 0x%x", w->mode, mode);
    w->mode = mode;
    return STATUS_OK;
}

OPERATION(s_getreg_b32) {
    uint32_t offset, mask = field_mask(insn->extra, &offset), number = insn->extra & 63, value = 0;
    if (number == HWREG_MODE) value = w->mode;
    else if (number != HWREG_HW_ID && number != HWREG_XCC_ID) /* one compute unit, number 0 */
        return cdna_unsupported(launch, insn, "s_getreg of hardware register %u", number);
    w->s[insn->dst.index] = (value & mask) >> offset;
    return STATUS_OK;
}

OPERATION(s_sendmsg) {
    (void)w;
    return cdna_unsupported(launch, insn, "message %d to the host: a failed assertion, or printf", insn->imm & 15);
}

#define BRANCH_ENTRY(NAME, ...) {#NAME, NAME, CLASS_BRANCH, 0},
const OperationEntry CONTROL_OPERATIONS[] = {
    BRANCHES(BRANCH_ENTRY)
    {"s_setpc_b64", s_setpc_b64, CLASS_BRANCH, 0},
    {"s_swappc_b64", s_swappc_b64, CLASS_BRANCH, 0},
    {"s_call_b64", s_call_b64, CLASS_BRANCH, 0},
    {"s_getpc_b64", s_getpc_b64, CLASS_SALU, 0},
    {"s_endpgm", end_program, CLASS_BRANCH, 0},
    {"s_endpgm_saved", end_program, CLASS_BRANCH, 0},
    {"s_barrier", barrier, CLASS_BARRIER, 0},
    {"s_trap", trap, CLASS_BRANCH, 0},
    {"s_waitcnt", nothing, CLASS_WAIT, 0},
    {"s_nop", nothing, CLASS_WAIT, 0},
    {"s_sleep", nothing, CLASS_WAIT, 0},
    {"s_wakeup", nothing, CLASS_WAIT, 0},
    {"s_setprio", nothing, CLASS_WAIT, 0},
    {"s_icache_inv", nothing, CLASS_WAIT, 0},
    {"s_incperflevel", nothing, CLASS_WAIT, 0},
    {"s_decperflevel", nothing, CLASS_WAIT, 0},
    {"s_ttracedata", nothing, CLASS_WAIT, 0},
    {"s_sendmsg", s_sendmsg, CLASS_SALU, 0},
    {"s_getreg_b32", s_getreg_b32, CLASS_SALU, 0},
    {"s_setreg_b32", set_register, CLASS_SALU, 0},
    {"s_setreg_imm32_b32", set_register, CLASS_SALU, 0},
    {NULL},
};
