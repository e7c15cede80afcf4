/* The import pointers of VirtualAlloc and VirtualFree are replaced (tests/CMakeLists.txt: --wrap); VirtualAlloc2 is
 * hidden (hide.c), so that these two are all there is. */
#include "../fault.h"

#include <stdio.h>

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

typedef LPVOID(WINAPI *virtual_alloc)(LPVOID base, SIZE_T size, DWORD type, DWORD protection);
typedef BOOL(WINAPI *virtual_free)(LPVOID base, SIZE_T size, DWORD type);

extern virtual_alloc __real___imp_VirtualAlloc;
extern virtual_free __real___imp_VirtualFree;
extern virtual_alloc __wrap___imp_VirtualAlloc;
extern virtual_free __wrap___imp_VirtualFree;

static const struct {
    const char *name;
    DWORD types;
    bool is_burst;
} ways[] = {
    {"outright", MEM_RESERVE | MEM_COMMIT | MEM_RESET | MEM_DECOMMIT, false},
    {"all from there on", MEM_RESERVE | MEM_COMMIT | MEM_RESET | MEM_DECOMMIT, true},
    {"commits", MEM_COMMIT, true},
    {"decommits", MEM_DECOMMIT | MEM_RESET, true},
};

static struct {
    bool is_armed;
    unsigned way;
    unsigned skip;
    unsigned refused;
} plan;

static int reservations; /* made and not released */

static bool is_refused(DWORD type)
{
    if (!plan.is_armed || (ways[plan.way].types & type) == 0) {
        return false;
    }
    if (plan.skip > 0) {
        plan.skip--;
        return false;
    }
    plan.is_armed = ways[plan.way].is_burst;
    plan.refused++;
    return true;
}

static LPVOID WINAPI alloc_or_refuse(LPVOID base, SIZE_T size, DWORD type, DWORD protection)
{
    if (is_refused(type)) {
        SetLastError((type & MEM_RESERVE) != 0 ? ERROR_NOT_ENOUGH_MEMORY : ERROR_COMMITMENT_LIMIT);
        return NULL;
    }
    LPVOID got = __real___imp_VirtualAlloc(base, size, type, protection);
    reservations += got != NULL && (type & MEM_RESERVE) != 0;
    return got;
}

static BOOL WINAPI free_or_refuse(LPVOID base, SIZE_T size, DWORD type)
{
    if (is_refused(type)) {
        SetLastError(ERROR_GEN_FAILURE);
        return FALSE;
    }
    BOOL is_done = __real___imp_VirtualFree(base, size, type);
    reservations -= is_done && (type & MEM_RELEASE) != 0;
    return is_done;
}

virtual_alloc __wrap___imp_VirtualAlloc = alloc_or_refuse;
virtual_free __wrap___imp_VirtualFree = free_or_refuse;

unsigned fault_system_count(void)
{
    return 1;
}

void fault_begin(unsigned system)
{
    (void)system;
    reservations = 0;
}

bool fault_end(void)
{
    if (reservations != 0) {
        printf("left behind: %d reservations\n", reservations);
    }
    return reservations == 0;
}

unsigned fault_way_count(void)
{
    return sizeof ways / sizeof ways[0];
}

const char *fault_way_name(unsigned way)
{
    return ways[way].name;
}

void fault_refuse(unsigned way, unsigned skip)
{
    plan.way = way;
    plan.skip = skip;
    plan.refused = 0;
    plan.is_armed = true;
}

unsigned fault_stop(void)
{
    plan.is_armed = false;
    return plan.refused;
}

int fault_main(int (*tests)(void))
{
    return tests();
}
