/* The LDS bank model that banks.h describes. */
#include "banks.h"

/* Lanes 0 to 31 as masks; the upper half of the wave follows the same pattern. */
static const uint32_t READ_B128_GFX942[] = {0x00F0000F, 0x000F00F0, 0xF0000F00, 0x0F00F000};
static const uint32_t READ_B128_GFX950[] = {0x0FF0F00F, 0xF00F0FF0};
static const uint32_t EIGHTS[] = {0x000000FF, 0x0000FF00, 0x00FF0000, 0xFF000000};
static const uint32_t SIXTEENS[] = {0x0000FFFF, 0xFFFF0000};
static const uint32_t HALF[] = {0xFFFFFFFF};

/* Consecutive lanes on consecutive places, or all on one: never a conflict. */
static bool plain(const uint32_t address[LANES], uint32_t bytes) {
    uint32_t uneven = 0, different = 0;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        uneven |= address[lane] ^ (address[0] + lane * bytes);
        different |= address[lane] ^ address[0];
    }
    return !different || (!uneven && bytes != 12 && address[0] % bytes == 0);
}

/* The largest number of distinct dwords in one bank, over the lanes in `group`. */
static uint32_t group_cycles(const uint32_t address[LANES], uint64_t group, uint32_t bytes, uint32_t banks) {
    uint8_t wanted[64] = {0};
    uint32_t dwords[64][LANES], most = 0; /* of each bank, the dwords wanted so far */
    for (uint64_t rest = group; rest; rest &= rest - 1) {
        uint32_t at = address[__builtin_ctzll(rest)];
        for (uint32_t dword = at / 4; dword <= (at + bytes - 1) / 4; dword++) {
            uint32_t bank = dword % banks, i = 0;
            while (i < wanted[bank] && dwords[bank][i] != dword) i++;
            if (i < wanted[bank]) continue;
            dwords[bank][wanted[bank]++] = dword;
            if (wanted[bank] > most) most = wanted[bank];
        }
    }
    return most;
}

uint32_t bank_conflicts(Arch arch, const uint32_t address[LANES], uint64_t mask, uint32_t bytes, BankUse use) {
    if (mask == UINT64_MAX && plain(address, bytes)) return 0;
    const uint32_t *groups;
    uint32_t count, banks = 32;
    bool wide = arch == GFX950 && use == BANKS_READ && (bytes == 8 || bytes == 16);
    if (wide) banks = 64;
    if (bytes == 16 && use == BANKS_READ) {
        groups = wide ? READ_B128_GFX950 : READ_B128_GFX942;
        count = wide ? 2 : 4;
    } else if (bytes <= 4 || wide) {
        groups = HALF;
        count = 1;
    } else if (bytes == 8) {
        groups = SIXTEENS;
        count = 2;
    } else {
        groups = EIGHTS;
        count = 4;
    }
    uint32_t extra = 0;
    for (uint32_t half = 0; half < 2; half++) {
        for (uint32_t i = 0; i < count; i++) {
            uint64_t group = mask & (uint64_t)groups[i] << 32 * half;
            if (group) extra += group_cycles(address, group, bytes, banks) - 1;
        }
    }
    return extra;
}
