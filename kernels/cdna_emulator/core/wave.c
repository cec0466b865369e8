/* Runs launches: workgroup after workgroup, the waves of one in turns that end at barriers. */
#include <stdlib.h>

#include "run.h"
#include "watch.h"

/* A wave that waits in a loop for what another wave of its workgroup does (through LDS or memory, without a barrier)
 * would never let it run; so every wave gives way after this many instructions. */
#define LONGEST_TURN (1u << 20)
#define ALIGNMENT 64
#define SEEDED_TURN 64 /* at most, so that seeded orders mix the waves finely */

typedef struct { /* what all workgroups of a launch share */
    Launch *launch;
    const OperationEntry **entry; /* of each instruction */
    uint64_t *executed;           /* of each instruction */
    uint32_t order;
    uint64_t random;
} Runner;

/* ---- one wave -------------------------------------------------------------------------------------------------- */

static Status fault_in(Launch *launch, const Wave *wave, uint32_t instruction, Status status) {
    launch->fault.instruction = instruction;
    launch->fault.wave = wave->number;
    memcpy(launch->fault.group, wave->group->id, sizeof wave->group->id);
    return status;
}

/* Executes up to `turn` instructions. STATUS_OK: the turn is over; STATUS_END, STATUS_BARRIER: so it ended. */
static Status run_wave(Runner *runner, Wave *wave, uint64_t turn) {
    Launch *launch = runner->launch;
    const Insn *code = launch->code;
    const OperationEntry **entry = runner->entry;
    uint64_t *executed = runner->executed;
    uint32_t length = launch->length;
    bool watched = launch->check_waits;
    uint64_t stop = launch->steps + turn;
    bool limited = launch->limit && launch->limit <= stop;
    if (limited) stop = launch->limit;
    while (launch->steps < stop) {
        uint32_t at = wave->pc;
        if (at >= length) {
            cdna_unsupported(launch, &code[length - 1], "the wave ran past the end of the code");
            return fault_in(launch, wave, length - 1, STATUS_UNSUPPORTED);
        }
        const Insn *insn = &code[at];
        launch->steps++;
        executed[at]++;
        wave->pc = at + 1;
        Status status = watched ? watch_before(launch, wave, insn, entry[at]) : STATUS_OK;
        if (status == STATUS_OK) status = entry[at]->run(launch, wave, insn);
        if (status != STATUS_OK) {
            if (status == STATUS_END || status == STATUS_BARRIER) return status;
            return fault_in(launch, wave, at, status);
        }
    }
    if (!limited) return STATUS_OK;
    strcpy(launch->fault.what, "the limit of instructions is reached: a loop that never ends, or a limit too low");
    return fault_in(launch, wave, wave->pc, STATUS_DEADLOCK);
}

/* ---- one workgroup --------------------------------------------------------------------------------------------- */

static uint32_t random_below(Runner *runner, uint32_t bound) { /* splitmix64 */
    uint64_t z = runner->random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)(((z ^ (z >> 31)) >> 32) * bound >> 32);
}

static void order_of_waves(Runner *runner, uint32_t count, uint32_t turns[MAX_WAVES]) {
    for (uint32_t i = 0; i < count; i++) turns[i] = runner->order == ORDER_REVERSE ? count - 1 - i : i;
    if (runner->order != ORDER_SEEDED) return;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = random_below(runner, i), kept = turns[j];
        turns[j] = turns[i - 1];
        turns[i - 1] = kept;
    }
}

/* Waves that have ended no longer count for a barrier ("S_BARRIER" in the ISA documents). */
static bool all_waiting(const Group *group) {
    for (uint32_t i = 0; i < group->waves; i++)
        if (!group->wave[i].done && !group->wave[i].at_barrier) return false;
    return true;
}

static Status run_group(Runner *runner, Group *group) {
    uint32_t left = group->waves;
    while (left) {
        uint32_t turns[MAX_WAVES];
        order_of_waves(runner, group->waves, turns);
        for (uint32_t i = 0; i < group->waves; i++) {
            Wave *wave = &group->wave[turns[i]];
            if (wave->done || wave->at_barrier) continue;
            uint32_t turn = runner->order == ORDER_SEEDED ? 1 + random_below(runner, SEEDED_TURN) : LONGEST_TURN;
            Status status = run_wave(runner, wave, turn);
            if (status == STATUS_BARRIER) {
                wave->at_barrier = true;
                runner->launch->counters.barriers++;
            } else if (status == STATUS_END) {
                wave->done = true;
                left--;
            } else if (status != STATUS_OK) {
                return status;
            }
        }
        if (left && all_waiting(group)) {
            for (uint32_t i = 0; i < group->waves; i++) group->wave[i].at_barrier = false;
            group->epoch++;
        }
    }
    return STATUS_OK;
}

static Status run_watched_group(Runner *runner, Group *group) {
    if (!watch_start(group)) {
        strcpy(runner->launch->fault.what, "no memory for the checks");
        return fault_in(runner->launch, &group->wave[0], runner->launch->entry, STATUS_UNSUPPORTED);
    }
    Status status = run_group(runner, group);
    watch_release(group);
    runner->launch->counters.workgroups++;
    runner->launch->counters.waves += group->waves;
    return status;
}

/* ---- starting and finishing ------------------------------------------------------------------------------------ */

static bool runner_open(Runner *runner, Launch *launch, uint32_t order, uint64_t seed) {
    *runner = (Runner){.launch = launch, .order = order, .random = seed};
    runner->entry = malloc(launch->length * sizeof *runner->entry);
    runner->executed = launch->executed ? launch->executed : calloc(launch->length, sizeof *runner->executed);
    bool fits = runner->entry && runner->executed;
    for (uint32_t i = 0; fits && i < launch->length; i++) runner->entry[i] = cdna_operation(launch->code[i].operation);
    return fits;
}

static void runner_close(Runner *runner) {
    Launch *launch = runner->launch;
    if (runner->entry && runner->executed) {
        memset(launch->counters.by_class, 0, sizeof launch->counters.by_class);
        for (uint32_t i = 0; i < launch->length; i++)
            launch->counters.by_class[runner->entry[i]->cls] += runner->executed[i];
    }
    free(runner->entry);
    if (runner->executed != launch->executed) free(runner->executed);
}

static Status no_memory(Launch *launch) {
    strcpy(launch->fault.what, "no memory for the waves");
    return STATUS_UNSUPPORTED;
}

static void fill_words(void *to, size_t bytes, uint32_t value) {
    for (size_t i = 0; i + 4 <= bytes; i += 4) memcpy((char *)to + i, &value, 4);
}

/* The registers of a wave when it starts: "Initial wave state" in the ISA documents, and LLVM's AMDGPUUsage for the
 * order of the scalar ones. v0 packs the thread's numbers in x, y, z by 10 bits each. */
static void start_wave(const Start *start, Wave *wave) {
    const uint32_t *threads = start->threads;
    uint32_t total = threads[0] * threads[1] * threads[2], first = wave->number * LANES;
    fill_words(wave->v, (size_t)start->vgprs * sizeof *wave->v, start->fill);
    fill_words(wave->v + FIRST_AGPR, (size_t)start->agprs * sizeof *wave->v, start->fill);
    for (uint32_t lane = 0; lane < LANES; lane++) {
        uint32_t thread = first + lane, x = thread % threads[0];
        uint32_t y = thread / threads[0] % threads[1], z = thread / threads[0] / threads[1];
        wave->v[0][lane] = x | y << 10 | z << 20;
    }
    memset(wave->s, 0, sizeof wave->s);
    memcpy(wave->s, start->user_sgpr, start->user_sgprs * sizeof *wave->s);
    uint32_t next = start->user_sgprs;
    for (uint32_t axis = 0; axis < 3; axis++)
        if (start->group_ids >> axis & 1) wave->s[next++] = wave->group->id[axis];
    uint32_t lanes = total - first < LANES ? total - first : LANES;
    set_sgpr64(wave, SGPR_EXEC, lanes == LANES ? UINT64_MAX : (1ull << lanes) - 1);
    wave->scc = 0;
    wave->mode = start->mode;
    wave->pc = wave->group->launch->entry;
    wave->done = wave->at_barrier = false;
}

static void start_group(const Start *start, Group *group, uint64_t number) {
    Launch *launch = group->launch;
    group->id[0] = (uint32_t)(number % start->grid[0]);
    group->id[1] = (uint32_t)(number / start->grid[0] % start->grid[1]);
    group->id[2] = (uint32_t)(number / start->grid[0] / start->grid[1]);
    group->epoch = 0;
    fill_words(group->lds, launch->lds_bytes, start->fill);
    for (uint32_t i = 0; i < group->waves; i++) {
        fill_words(group->wave[i].scratch, (size_t)LANES * launch->scratch_bytes, start->fill);
        start_wave(start, &group->wave[i]);
    }
}

static uint64_t nth_group(const Start *start, uint64_t count, uint64_t n) {
    uint64_t place = start->order == ORDER_REVERSE ? count - 1 - n : n;
    return start->sample ? start->sample[place] : place;
}

static Status run_groups(Runner *runner, const Start *start, Group *group) {
    uint64_t count = start->sample ? start->samples : (uint64_t)start->grid[0] * start->grid[1] * start->grid[2];
    for (uint64_t n = 0; n < count; n++) {
        start_group(start, group, nth_group(start, count, n));
        Status status = run_watched_group(runner, group);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

Status cdna_run(Launch *launch, const Start *start) {
    uint32_t waves = (start->threads[0] * start->threads[1] * start->threads[2] + LANES - 1) / LANES;
    if (waves > MAX_WAVES) return cdna_unsupported(launch, launch->code, "%u waves in a workgroup", waves);
    Wave wave[MAX_WAVES];
    Group group = {.launch = launch, .waves = waves, .wave = wave};
    size_t scratch = (size_t)LANES * launch->scratch_bytes, registers = 512 * sizeof *wave->v;
    Runner runner;
    bool fits = runner_open(&runner, launch, start->order, start->seed);
    /* Zeroed pages that are not touched cost nothing, and few registers are. */
    uint8_t *store = calloc(waves * (registers + scratch) + launch->lds_bytes + 2 * ALIGNMENT, 1);
    Status status = STATUS_OK;
    if (fits && store) {
        uint8_t *aligned = store + ALIGNMENT - (uintptr_t)store % ALIGNMENT;
        memset(wave, 0, sizeof wave);
        for (uint32_t i = 0; i < waves; i++) {
            wave[i].number = i;
            wave[i].group = &group;
            wave[i].v = (uint32_t(*)[LANES])(aligned + i * registers);
            wave[i].scratch = aligned + waves * registers + i * scratch;
        }
        group.lds = aligned + waves * (registers + scratch);
        status = run_groups(&runner, start, &group);
    } else {
        status = no_memory(launch);
    }
    runner_close(&runner);
    free(store);
    return status;
}

Status cdna_run_lab(Launch *launch, Lab *lab) {
    if (lab->waves > MAX_WAVES) return cdna_unsupported(launch, launch->code, "%u waves", lab->waves);
    Wave wave[MAX_WAVES];
    Group group = {.launch = launch, .lds = lab->lds, .waves = lab->waves, .wave = wave};
    memset(wave, 0, sizeof wave);
    for (uint32_t i = 0; i < lab->waves; i++) {
        wave[i] = (Wave){.number = i, .group = &group, .v = lab->v[i], .scc = lab->scc[i], .mode = lab->mode};
        wave[i].pc = launch->entry;
        wave[i].scratch = lab->scratch ? lab->scratch + (size_t)i * LANES * launch->scratch_bytes : NULL;
        memcpy(wave[i].s, lab->s[i], sizeof wave[i].s);
    }
    Runner runner;
    Status status = runner_open(&runner, launch, lab->order, lab->seed) ? run_watched_group(&runner, &group)
                                                                             : no_memory(launch);
    runner_close(&runner);
    for (uint32_t i = 0; i < lab->waves; i++) {
        memcpy(lab->s[i], wave[i].s, sizeof wave[i].s);
        lab->scc[i] = wave[i].scc;
    }
    if (lab->waves) lab->mode = wave[0].mode;
    return status;
}
