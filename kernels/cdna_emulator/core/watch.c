/* The checks of watch.h. */
#include "watch.h"

#include <stdlib.h>

#include "memory.h"

/* ---- loads under way ---------------------------------------------------------------------------------------------
 *
 * s_waitcnt counts what a wave has under way. vmcnt: vector memory, loads and stores alike, done in order of issue.
 * lgkmcnt: LDS, in order among themselves, and scalar loads, in any order, so that only lgkmcnt(0) says that one is
 * there. FLAT counts in both and in no order with the rest. A counter that is full stalls the wave: the oldest is then
 * done. buffer_inv and buffer_wbl2 are not counted, as in LLVM's insertion of s_waitcnt: of two readings the stricter. All
 * that Triton compiles for the corpus of tests passes under these rules. */

enum { MEMORY_LIMIT = 63, LDS_LIMIT = 15, UNORDERED_LIMIT = 64, REGISTERS = 512 + 128, SLOTS = 64 };
enum { WAITS_MEMORY = 1, WAITS_LDS = 2 };

typedef struct {
    uint32_t first, count; /* registers it will fill: v0..., a0... from 256, s0... from 512 */
    uint32_t instruction;
    uint32_t waits; /* of unordered entries: the counters that must reach 0 */
} Entry;

typedef struct { /* of ordered operations; number n, from 1 on, is at entry[n % SLOTS] */
    Entry entry[SLOTS];
    uint32_t issued, retired;
} Queue;

typedef struct {
    Queue memory, lds;
    Entry unordered[UNORDERED_LIMIT];
    uint32_t unordered_count;
    uint8_t busy[REGISTERS]; /* entries that will fill the register */
} Pending;

/* ---- LDS ---------------------------------------------------------------------------------------------------------
 *
 * Per byte: which waves wrote and read it between which barriers. Two waves that touch a byte with no barrier between,
 * one of them writing, race; a write that leaves the byte as it was is no conflict, since compilers let several waves
 * store the same value to one place. */

enum { BYTE_WRITTEN = 1, BYTE_ATOMIC = 2, BYTE_ARRIVAL = 4 };

typedef struct {
    uint32_t write_epoch, read_epoch; /* one more than the group's epoch; 0: never */
    uint32_t ticket;                  /* number of the write in its wave's queue */
    uint32_t instruction;             /* that wrote */
    uint32_t readers, writers;        /* bit n: wave n, in that epoch */
    uint8_t writer, flags;
} Byte;

typedef struct { /* a byte that this instruction overwrites although another wave touched it in this epoch */
    uint32_t address, lane, bytes, other;
    uint8_t before;
    bool was_read;
} Suspicion;

typedef struct {
    Pending *pending; /* of each wave, or NULL */
    Byte *byte;       /* of LDS */
    Suspicion *suspicion;
    uint32_t suspicions;
} Watch;

enum { SUSPICIONS = LANES * 16 }; /* one instruction writes at most that many bytes at once */

bool watch_start(Group *group) {
    Launch *launch = group->launch;
    if (!watch_on(launch)) return true;
    Watch *watch = calloc(1, sizeof *watch);
    if (!watch) return false;
    group->shadow = watch;
    watch->byte = calloc(launch->lds_bytes + 1, sizeof *watch->byte);
    watch->suspicion = calloc(SUSPICIONS, sizeof *watch->suspicion);
    if (launch->check_waits) watch->pending = calloc(group->waves, sizeof *watch->pending);
    if (!watch->byte || !watch->suspicion || (launch->check_waits && !watch->pending)) {
        watch_release(group);
        return false;
    }
    for (uint32_t i = 0; i < group->waves; i++) group->wave[i].pending = watch->pending ? &watch->pending[i] : NULL;
    return true;
}

void watch_release(Group *group) {
    Watch *watch = group->shadow;
    if (!watch) return;
    for (uint32_t i = 0; i < group->waves; i++) group->wave[i].pending = NULL;
    free(watch->pending);
    free(watch->byte);
    free(watch->suspicion);
    free(watch);
    group->shadow = NULL;
}

/* ---- registers ----------------------------------------------------------------------------------------------------- */

static Entry registers_of(const Operand *operand) {
    Entry entry = {0, 0, 0, 0};
    uint32_t base = operand->kind == OPERAND_SGPR ? 512 : 0;
    if (operand->kind != OPERAND_VGPR && operand->kind != OPERAND_SGPR) return entry;
    entry.first = base + operand->index;
    entry.count = operand->dwords;
    if (entry.first + entry.count > REGISTERS) entry.count = REGISTERS - entry.first;
    return entry;
}

static void release(Pending *pending, const Entry *entry) {
    for (uint32_t i = 0; i < entry->count; i++) pending->busy[entry->first + i]--;
}

static void retire(Pending *pending, Queue *queue, uint32_t left) {
    while (queue->issued - queue->retired > left) release(pending, &queue->entry[++queue->retired % SLOTS]);
}

static void issue(Pending *pending, Queue *queue, Entry entry, uint32_t limit) {
    retire(pending, queue, limit - 1);
    for (uint32_t i = 0; i < entry.count; i++) pending->busy[entry.first + i]++;
    queue->entry[++queue->issued % SLOTS] = entry;
}

static void issue_unordered(Pending *pending, Entry entry) {
    if (pending->unordered_count == UNORDERED_LIMIT) { /* beyond any counter: the first one is done */
        release(pending, &pending->unordered[0]);
        memmove(pending->unordered, pending->unordered + 1, (UNORDERED_LIMIT - 1) * sizeof entry);
        pending->unordered_count--;
    }
    for (uint32_t i = 0; i < entry.count; i++) pending->busy[entry.first + i]++;
    pending->unordered[pending->unordered_count++] = entry;
}

static void settle_unordered(Pending *pending, uint32_t counter) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < pending->unordered_count; i++) {
        Entry *entry = &pending->unordered[i];
        entry->waits &= ~counter;
        if (entry->waits) pending->unordered[kept++] = *entry;
        else release(pending, entry);
    }
    pending->unordered_count = kept;
}

static void wait(Pending *pending, uint32_t word) {
    uint32_t memory = (word & 15) | (word >> 14 & 3) << 4, lds = word >> 8 & 15;
    retire(pending, &pending->memory, memory);
    if (memory == 0) settle_unordered(pending, WAITS_MEMORY);
    retire(pending, &pending->lds, lds);
    if (lds == 0) settle_unordered(pending, WAITS_LDS);
}

static bool holds(const Entry *entry, uint32_t number) {
    return number >= entry->first && number < entry->first + entry->count;
}

/* The operation under way that fills register `number`, and what it waits for. */
static const Entry *filler(const Pending *pending, uint32_t number, const char **counter) {
    const Queue *queue[] = {&pending->memory, &pending->lds};
    for (uint32_t q = 0; q < 2; q++) {
        for (uint32_t n = queue[q]->issued; n != queue[q]->retired; n--) {
            const Entry *entry = &queue[q]->entry[n % SLOTS];
            if (holds(entry, number)) return *counter = q ? "lgkmcnt" : "vmcnt", entry;
        }
    }
    for (uint32_t i = 0; i < pending->unordered_count; i++) {
        const Entry *entry = &pending->unordered[i];
        if (holds(entry, number)) return *counter = entry->waits & WAITS_LDS ? "lgkmcnt(0)" : "vmcnt(0)", entry;
    }
    return NULL;
}

static Status report(Launch *launch, Wave *wave, const Insn *insn, uint32_t number, bool write) {
    const Pending *pending = wave->pending;
    const char *counter = "";
    const Entry *entry = filler(pending, number, &counter);
    uint32_t pc = entry ? launch->code[entry->instruction].pc : 0;
    char file = number >= 512 ? 's' : number >= FIRST_AGPR ? 'a' : 'v';
    uint32_t shown = number >= 512 ? number - 512 : number % FIRST_AGPR;
    return memory_fault(launch, wave, insn, STATUS_USE_BEFORE_WAIT, 0, number, 4, write,
                        "%c%u %s before s_waitcnt %s for the load at pc 0x%x", file, shown,
                        write ? "overwritten" : "read", counter, pc);
}

/* Whether all that will fill `number` comes back in order before what `queue` gets next: then overwriting is safe. */
static bool in_order(const Pending *pending, const Queue *queue, uint32_t number) {
    uint32_t found = 0;
    for (uint32_t n = queue->issued; n != queue->retired; n--) found += holds(&queue->entry[n % SLOTS], number);
    return found == pending->busy[number];
}

static Status check_registers(Launch *launch, Wave *wave, const Insn *insn, const Operand *operand, bool write,
                              const Queue *queue) {
    const Pending *pending = wave->pending;
    Entry entry = registers_of(operand);
    for (uint32_t number = entry.first; number < entry.first + entry.count; number++) {
        if (!pending->busy[number] || (queue && in_order(pending, queue, number))) continue;
        return report(launch, wave, insn, number, write);
    }
    return STATUS_OK;
}

/* ---- instructions --------------------------------------------------------------------------------------------------- */

typedef enum { UNDER_WAY_NOT, UNDER_WAY_MEMORY, UNDER_WAY_LDS, UNDER_WAY_SCALAR, UNDER_WAY_FLAT } UnderWay;

static UnderWay under_way(const OperationEntry *entry, const Insn *insn) {
    switch (entry->cls) {
    case CLASS_VMEM:
        if (entry->name[0] == 'f') return UNDER_WAY_FLAT;
        if (!strcmp(entry->name, "buffer_inv") || !strcmp(entry->name, "buffer_wbl2")) return UNDER_WAY_NOT;
        return UNDER_WAY_MEMORY;
    case CLASS_SCRATCH: return UNDER_WAY_MEMORY;
    case CLASS_LDS: return UNDER_WAY_LDS;
    case CLASS_SMEM: return insn->dst.kind == OPERAND_NONE ? UNDER_WAY_NOT : UNDER_WAY_SCALAR;
    default: return UNDER_WAY_NOT;
    }
}

Status watch_before(Launch *launch, Wave *wave, const Insn *insn, const OperationEntry *entry) {
    Pending *pending = wave->pending;
    if (!pending) return STATUS_OK;
    if (entry->cls == CLASS_WAIT && !strcmp(entry->name, "s_waitcnt")) {
        wait(pending, (uint16_t)insn->imm);
        return STATUS_OK;
    }
    UnderWay kind = under_way(entry, insn);
    Queue *queue = kind == UNDER_WAY_MEMORY ? &pending->memory : kind == UNDER_WAY_LDS ? &pending->lds : NULL;
    for (uint32_t i = 0; i < insn->sources; i++) {
        Status status = check_registers(launch, wave, insn, &insn->src[i], false, NULL);
        if (status != STATUS_OK) return status;
    }
    Status status = check_registers(launch, wave, insn, &insn->dst, true, queue);
    if (status == STATUS_OK) status = check_registers(launch, wave, insn, &insn->dst2, true, NULL);
    if (status != STATUS_OK || kind == UNDER_WAY_NOT) return status;

    Entry result = registers_of(&insn->dst);
    result.instruction = (uint32_t)(insn - launch->code);
    if (kind == UNDER_WAY_MEMORY) issue(pending, &pending->memory, result, MEMORY_LIMIT);
    else if (kind == UNDER_WAY_LDS) issue(pending, &pending->lds, result, LDS_LIMIT);
    else {
        result.waits = kind == UNDER_WAY_FLAT ? WAITS_MEMORY | WAITS_LDS : WAITS_LDS;
        issue_unordered(pending, result);
    }
    return STATUS_OK;
}

/* ---- LDS accesses ---------------------------------------------------------------------------------------------------- */

static uint32_t other_wave(uint32_t waves, uint32_t me) { return (uint32_t)__builtin_ctz(waves & ~(1u << me)); }

static Status race(Launch *launch, Wave *wave, const Insn *insn, uint32_t lane, uint32_t address, uint32_t bytes,
                   bool store, uint32_t other, const char *what) {
    memory_fault(launch, wave, insn, STATUS_RACE, lane, address, bytes, store,
                 "wave %u %s by wave %u with no barrier between", wave->number, what, other);
    launch->fault.other_wave = other;
    return STATUS_RACE;
}

/* Is what this byte holds still on its way, as far as wave `me` may know? What a load brings straight from memory is
 * there once its wave has waited with vmcnt; what another wave wrote, once that wave has waited with lgkmcnt. */
static bool on_its_way(const Watch *watch, const Byte *byte, uint32_t me) {
    if (!watch->pending || !(byte->flags & BYTE_WRITTEN)) return false;
    const Pending *pending = &watch->pending[byte->writer];
    if (byte->flags & BYTE_ARRIVAL) return (int32_t)(byte->ticket - pending->memory.retired) > 0;
    return byte->writer != me && (int32_t)(byte->ticket - pending->lds.retired) > 0;
}

static void note_write(Watch *watch, Byte *byte, uint32_t me, uint32_t epoch, const Launch *launch, const Insn *insn,
                       WatchAccess access) {
    byte->writers = (byte->write_epoch == epoch ? byte->writers : 0) | 1u << me;
    byte->write_epoch = epoch;
    byte->writer = (uint8_t)me;
    byte->instruction = (uint32_t)(insn - launch->code);
    byte->flags = BYTE_WRITTEN | (access == WATCH_ATOMIC ? BYTE_ATOMIC : access == WATCH_ARRIVAL ? BYTE_ARRIVAL : 0);
    if (!watch->pending) return;
    byte->ticket = access == WATCH_ARRIVAL ? watch->pending[me].memory.issued : watch->pending[me].lds.issued;
}

/* Did other waves write the byte in this epoch, so that what `me` now reads depends on who was first? A wave that wrote
 * the same value itself reads that value in any order. */
static bool read_races(const Byte *byte, uint32_t me, uint32_t epoch) {
    if (byte->write_epoch != epoch) return false;
    return byte->flags & BYTE_ATOMIC ? byte->writers & ~(1u << me) : !(byte->writers >> me & 1);
}

static Status watch_byte(Launch *launch, Wave *wave, const Insn *insn, uint32_t lane, uint32_t address, uint32_t bytes,
                         WatchAccess access, uint32_t at) {
    Watch *watch = wave->group->shadow;
    Byte *byte = &watch->byte[at];
    uint32_t me = wave->number, epoch = wave->group->epoch + 1;
    bool reads = access == WATCH_READ || access == WATCH_ATOMIC, writes = access != WATCH_READ;
    if (reads && launch->check_undefined && !(byte->flags & BYTE_WRITTEN))
        return memory_fault(launch, wave, insn, STATUS_UNDEFINED_READ, lane, address, bytes, false,
                            "LDS byte %u was never written", at);
    bool follows = access == WATCH_ARRIVAL && byte->writer == me; /* two loads of one wave arrive in order */
    if ((reads || byte->flags & BYTE_ARRIVAL) && !follows && on_its_way(watch, byte, me))
        return memory_fault(launch, wave, insn, STATUS_USE_BEFORE_WAIT, lane, address, bytes, writes,
                            "LDS byte %u %s before wave %u waited (%s) for the %s at pc 0x%x", at,
                            reads ? "read" : "overwritten", byte->writer,
                            byte->flags & BYTE_ARRIVAL ? "vmcnt" : "lgkmcnt",
                            byte->flags & BYTE_ARRIVAL ? "load" : "write", launch->code[byte->instruction].pc);
    if (launch->check_races) {
        bool both_atomic = access == WATCH_ATOMIC && byte->flags & BYTE_ATOMIC;
        uint32_t others = ~(1u << me);
        bool written = byte->write_epoch == epoch && byte->writers & others;
        bool read = byte->read_epoch == epoch && byte->readers & others;
        if (reads && !both_atomic && read_races(byte, me, epoch))
            return race(launch, wave, insn, lane, address, bytes, writes, other_wave(byte->writers, me),
                        "reads what was written");
        if (writes && !both_atomic && (written || read) && watch->suspicions < SUSPICIONS)
            watch->suspicion[watch->suspicions++] =
                (Suspicion){at, lane, bytes, other_wave(read ? byte->readers : byte->writers, me),
                            wave->group->lds[at], read};
    }
    if (reads && access != WATCH_ATOMIC) {
        byte->readers = (byte->read_epoch == epoch ? byte->readers : 0) | 1u << me;
        byte->read_epoch = epoch;
    }
    if (writes) note_write(watch, byte, me, epoch, launch, insn, access);
    return STATUS_OK;
}

Status watch_lds(Launch *launch, Wave *wave, const Insn *insn, uint32_t lane, uint32_t address, uint32_t bytes,
                 WatchAccess access) {
    for (uint32_t at = address; at < address + bytes; at++) {
        Status status = watch_byte(launch, wave, insn, lane, address, bytes, access, at);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

Status watch_written(Launch *launch, Wave *wave, const Insn *insn) {
    Watch *watch = wave->group->shadow;
    uint32_t count = watch->suspicions;
    watch->suspicions = 0;
    for (uint32_t i = 0; i < count; i++) {
        const Suspicion *s = &watch->suspicion[i];
        if (wave->group->lds[s->address] == s->before) continue;
        return race(launch, wave, insn, s->lane, s->address, s->bytes, true, s->other,
                    s->was_read ? "overwrites what was read" : "overwrites what was written");
    }
    return STATUS_OK;
}
