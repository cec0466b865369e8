/* Scalar loads: SMEM. */
#include "memory.h"
#include "operands.h"

/* Reads `dwords` dwords at `address` into registers; the two lowest bits of the address are ignored. */
static Status load(Launch *launch, Wave *w, const Insn *insn, uint64_t address, uint32_t dwords) {
    address &= ~3ull;
    uint32_t bytes = 4 * dwords;
    const Allocation *allocation = allocation_of(launch, address, address + bytes);
    if (!allocation)
        return memory_fault(launch, w, insn, STATUS_OUT_OF_BOUNDS, 0, address, bytes, false, NULL);
    if (launch->check_undefined && allocation->written &&
        memchr(allocation->written + (address - allocation->lo), 0, bytes))
        return memory_fault(launch, w, insn, STATUS_UNDEFINED_READ, 0, address, bytes, false, NULL);
    memcpy(&w->s[insn->dst.index], (const void *)(uintptr_t)address, bytes);
    return STATUS_OK;
}

static uint64_t offset_of(const Wave *w, const Insn *insn) {
    uint32_t offset = insn->src[1].kind == OPERAND_NONE ? 0 : scalar32(w, &insn->src[1]);
    return (uint64_t)offset + (uint64_t)(int64_t)insn->imm;
}

static Status s_load(Launch *launch, Wave *w, const Insn *insn) {
    return load(launch, w, insn, sgpr64(w, insn->src[0].index) + offset_of(w, insn), insn->dst.dwords);
}

/* Of a buffer resource: base [47:0], stride [61:48], num_records [95:64], in units of the stride if there is one.
 * Dwords beyond it read as 0 ("Scalar memory reads" in the ISA documents). */
static Status s_buffer_load(Launch *launch, Wave *w, const Insn *insn) {
    uint32_t resource = insn->src[0].index, dwords = insn->dst.dwords;
    uint64_t low = sgpr64(w, resource), base = low & 0xFFFFFFFFFFFF, stride = low >> 48 & 0x3FFF;
    uint64_t limit = (uint64_t)w->s[resource + 2] * (stride ? stride : 1), offset = offset_of(w, insn) & ~3ull;
    if (low >> 63) return cdna_unsupported(launch, insn, "a buffer with swizzled addresses");
    uint32_t inside = offset + 4 > limit ? 0 : limit - offset >= 4ull * dwords ? dwords : (uint32_t)((limit - offset) / 4);
    memset(&w->s[insn->dst.index + inside], 0, (dwords - inside) * sizeof *w->s);
    return inside ? load(launch, w, insn, base + offset, inside) : STATUS_OK;
}

static Status clock(Launch *launch, Wave *w, const Insn *insn) { /* there is no time: instructions so far */
    set_sgpr64(w, insn->dst.index, launch->steps);
    return STATUS_OK;
}

static Status nothing(Launch *launch, Wave *w, const Insn *insn) {
    (void)launch, (void)w, (void)insn;
    return STATUS_OK;
}

const OperationEntry SCALAR_MEMORY_OPERATIONS[] = {
    {"s_load_dword", s_load, CLASS_SMEM, 0},
    {"s_load_dwordx2", s_load, CLASS_SMEM, 0},
    {"s_load_dwordx4", s_load, CLASS_SMEM, 0},
    {"s_load_dwordx8", s_load, CLASS_SMEM, 0},
    {"s_load_dwordx16", s_load, CLASS_SMEM, 0},
    {"s_buffer_load_dword", s_buffer_load, CLASS_SMEM, 0},
    {"s_buffer_load_dwordx2", s_buffer_load, CLASS_SMEM, 0},
    {"s_buffer_load_dwordx4", s_buffer_load, CLASS_SMEM, 0},
    {"s_buffer_load_dwordx8", s_buffer_load, CLASS_SMEM, 0},
    {"s_buffer_load_dwordx16", s_buffer_load, CLASS_SMEM, 0},
    {"s_memtime", clock, CLASS_SMEM, 0},
    {"s_memrealtime", clock, CLASS_SMEM, 0},
    {"s_dcache_inv", nothing, CLASS_SMEM, 0},
    {"s_dcache_wb", nothing, CLASS_SMEM, 0},
    {"s_dcache_inv_vol", nothing, CLASS_SMEM, 0},
    {"s_dcache_wb_vol", nothing, CLASS_SMEM, 0},
    {NULL},
};
