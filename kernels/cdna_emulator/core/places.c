/* Address arithmetic of global, flat, buffer and scratch instructions. */
#include "global.h"

/* Without a scalar base the lanes hold 64-bit addresses; with one, unsigned 32-bit offsets from it. FLAT instructions
 * take the same path: an address in the LDS or scratch aperture lies in no allocation and is reported. */
static void global_places(const Wave *wave, const Insn *insn, Places *places) {
    const Operand *address = &insn->src[SOURCE_ADDRESS], *base = &insn->src[SOURCE_BASE];
    const uint32_t *low = wave->v[address->index];
    if (base->kind == OPERAND_SGPR) {
        uint64_t start = sgpr64(wave, base->index) + (uint64_t)(int64_t)insn->imm;
        for (int lane = 0; lane < LANES; lane++) places->address[lane] = start + low[lane];
    } else {
        const uint32_t *high = wave->v[address->index + 1];
        uint64_t start = (uint64_t)(int64_t)insn->imm;
        for (int lane = 0; lane < LANES; lane++)
            places->address[lane] = ((uint64_t)high[lane] << 32 | low[lane]) + start;
    }
    places->mask = exec_mask(wave);
    places->partial = 0;
}

/* Buffers (MUBUF). The resource holds base [47:0], stride [61:48], swizzle enable [63], num_records [95:64] and add-tid
 * enable [119]. Range: a raw access is out of range where its offset (instruction plus lane) passes num_records minus
 * soffset, dword by dword; with IDXEN and a stride it is where index >= num_records. Reads there give 0, writes are
 * dropped; atomics are in or out as a whole. Not checked against a card: that a dword which straddles the end counts as
 * out of range, and the rule for IDXEN with a stride and no swizzle, which Triton does not emit. */
static Status buffer_places(Launch *launch, Wave *wave, const Insn *insn, uint32_t bytes, bool whole, Places *places) {
    uint32_t resource = insn->src[SOURCE_BASE].index;
    uint64_t low = sgpr64(wave, resource);
    uint32_t records = wave->s[resource + 2], stride = (uint32_t)(low >> 48) & 0x3FFF;
    if (low >> 63) return cdna_unsupported(launch, insn, "a buffer with swizzled addresses");
    if (wave->s[resource + 3] >> 23 & 1) return cdna_unsupported(launch, insn, "a buffer that adds the thread id");
    uint32_t soffset = insn->src[SOURCE_SOFFSET].kind == OPERAND_NONE ? 0 : scalar32(wave, &insn->src[SOURCE_SOFFSET]);
    uint64_t base = (low & 0xFFFFFFFFFFFF) + soffset, limit = records > soffset ? records - soffset : 0;
    bool structured = (insn->flags & FLAG_IDXEN) && stride;
    const uint32_t *index = NULL, *offset = NULL;
    uint32_t vgpr = insn->src[SOURCE_ADDRESS].index;
    if (insn->flags & FLAG_IDXEN) index = wave->v[vgpr++];
    if (insn->flags & FLAG_OFFEN) offset = wave->v[vgpr];

    uint64_t relative[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        relative[lane] = (uint64_t)(uint32_t)insn->imm + (offset ? offset[lane] : 0) +
                         (index ? (uint64_t)index[lane] * stride : 0);
        places->address[lane] = base + relative[lane];
    }
    uint64_t inside = 0, partial = 0, exec = exec_mask(wave);
    if (structured) {
        for (int lane = 0; lane < LANES; lane++) inside |= (uint64_t)(index[lane] < records) << lane;
    } else {
        for (int lane = 0; lane < LANES; lane++) inside |= (uint64_t)(relative[lane] + bytes <= limit) << lane;
        for (uint64_t rest = whole || bytes <= 4 ? 0 : exec & ~inside; rest; rest &= rest - 1) {
            uint32_t lane = (uint32_t)__builtin_ctzll(rest);
            if (relative[lane] + 4 > limit) continue;
            partial |= 1ull << lane;
            places->dwords[lane] = (uint8_t)((limit - relative[lane]) / 4);
        }
    }
    places->mask = exec & inside;
    places->partial = partial;
    return STATUS_OK;
}

/* Scratch: each lane has its own scratch_bytes bytes; lane offsets, a scalar offset and the instruction's add up. Here
 * the address is one into the process, so that the data moves as for global memory. */
static Status scratch_places(Launch *launch, Wave *wave, const Insn *insn, uint32_t bytes, Places *places) {
    const Operand *address = &insn->src[SOURCE_ADDRESS], *base = &insn->src[SOURCE_BASE];
    const uint32_t *offset = address->kind == OPERAND_VGPR ? wave->v[address->index] : NULL;
    int64_t start = insn->imm + (base->kind == OPERAND_SGPR ? (int64_t)wave->s[base->index] : 0);
    places->mask = exec_mask(wave);
    places->partial = 0;
    for (uint64_t rest = places->mask; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest);
        int64_t at = start + (offset ? (int64_t)offset[lane] : 0);
        if (at < 0 || at + bytes > launch->scratch_bytes)
            return memory_fault(launch, wave, insn, STATUS_OUT_OF_BOUNDS, lane, (uint64_t)at, bytes,
                                insn->dst.kind == OPERAND_NONE, "offset in %u bytes of scratch", launch->scratch_bytes);
        places->address[lane] = (uint64_t)(uintptr_t)wave->scratch + (uint64_t)lane * launch->scratch_bytes + (uint64_t)at;
    }
    return STATUS_OK;
}

Status find_places(Launch *launch, Wave *wave, const Insn *insn, Form form, uint32_t bytes, bool whole, Places *places) {
    if (form == FORM_BUFFER) return buffer_places(launch, wave, insn, bytes, whole, places);
    if (form == FORM_SCRATCH) return scratch_places(launch, wave, insn, bytes, places);
    global_places(wave, insn, places);
    return STATUS_OK;
}
