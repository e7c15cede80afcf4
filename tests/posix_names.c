/* Names of mappings, PR_SET_VMA_ANON_NAME: every page of a region that has a name keeps it, whatever is done to it.
 *
 * Few kernels have CONFIG_ANON_VMA_NAME. So the calls that set and lose names are looked at on their way to the kernel
 * (--wrap), and a made-up kernel keeps the name of each page. The last test asks the kernel at hand, where it can. */
#define _GNU_SOURCE 1
#include "test.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "fallow.h"
#include "os.h"

enum {
    PAGES = 64,
    NAME_BYTES_MAX = 80 /* ANON_VMA_NAME_MAX_LEN, with its zero */
};

/* The made-up kernel: the names of the pages of one range. */
static struct {
    bool is_on;
    int refuses; /* errno for each call to come; 0: none */
    unsigned calls;
    char *base; /* the range's first page is the one that is named first */
    size_t page_bytes;
    char names[PAGES][NAME_BYTES_MAX];
} kernel;

static void set_names(char *base, size_t size_bytes, const char *name)
{
    for (size_t page = 0; page < PAGES; page++) {
        char *address = kernel.base + page * kernel.page_bytes;
        if (address >= base && address < base + size_bytes) {
            strncpy(kernel.names[page], name, NAME_BYTES_MAX - 1);
        }
    }
}

int __real_prctl(int option, unsigned long one, unsigned long base, unsigned long size_bytes, unsigned long name);
int __wrap_prctl(int option, unsigned long one, unsigned long base, unsigned long size_bytes, unsigned long name);
int __wrap_prctl(int option, unsigned long one, unsigned long base, unsigned long size_bytes, unsigned long name)
{
    if (!kernel.is_on || option != 0x53564d41) {
        return __real_prctl(option, one, base, size_bytes, name);
    }
    const char *text = (const char *)name;
    assert_int_equal(one, 0);
    assert_int_equal(base % kernel.page_bytes, 0);
    assert_int_equal(size_bytes % kernel.page_bytes, 0);
    assert_true(strlen(text) < NAME_BYTES_MAX);
    for (const char *letter = text; *letter != '\0'; letter++) { /* as the kernel does: is_valid_name_char */
        assert_true(*letter > 0x1f && *letter < 0x7f && strchr("\\`$[]", *letter) == NULL);
    }
    kernel.calls++;
    if (kernel.refuses != 0) {
        errno = kernel.refuses;
        return -1;
    }
    if (kernel.base == NULL) {
        kernel.base = (char *)base;
    }
    set_names((char *)base, size_bytes, text);
    return 0;
}

void *__real_mmap(void *base, size_t size_bytes, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *base, size_t size_bytes, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *base, size_t size_bytes, int protection, int flags, int file, off_t offset)
{
    void *mapped = __real_mmap(base, size_bytes, protection, flags, file, offset);
    if (kernel.is_on && mapped != MAP_FAILED && kernel.base != NULL) {
        set_names(mapped, size_bytes, ""); /* a new mapping has none */
    }
    return mapped;
}

static void kernel_on(void)
{
    memset(&kernel, 0, sizeof kernel);
    kernel.page_bytes = fallow__os_page_bytes();
    kernel.is_on = true;
}

static fallow_region reserve(const char *name)
{
    fallow_region region;
    const fallow_region_options options = {.name = name, .flags = FALLOW_REGION_NO_DUMP};
    assert_int_equal(fallow_region_reserve(PAGES * fallow__os_page_bytes(), &options, &region), FALLOW_OK);
    return region;
}

static void require_name(const char *name)
{
    for (size_t page = 0; page < PAGES; page++) {
        if (strcmp(kernel.names[page], name) != 0) {
            fail_msg("page %zu is called \"%s\", not \"%s\"", page, kernel.names[page], name);
        }
    }
}

static void a_name_is_given_and_made_fit(void **state)
{
    (void)state;
    static const struct {
        const char *given;
        const char *shown;
    } names[] = {
        {"records", "fallow: records"},
        {"a\\b`c$d[e]f\n\x7f\xc3", "fallow: a_b_c_d_e_f___"},
        {"sixty-three bytes are the longest name that a region can have..",
         "fallow: sixty-three bytes are the longest name that a region can have.."},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        kernel_on();
        fallow_region region = reserve(names[i].given);
        require_name(names[i].shown);
        assert_int_equal(kernel.calls, 1);
        assert_int_equal(fallow_region_release(&region), FALLOW_OK);
    }
    kernel_on();
    fallow_region region = reserve(NULL);
    assert_int_equal(kernel.calls, 0); /* no name, no call */
    assert_int_equal(fallow_region_release(&region), FALLOW_OK);
}

static void a_name_stays_whatever_is_done(void **state)
{
    (void)state;
    test_random random = test_seed("a_name_stays_whatever_is_done");
    kernel_on();
    fallow_region region = reserve("records");
    for (int i = 0; i < 3000; i++) {
        size_t first = test_below(&random, PAGES);
        size_t count = 1 + test_below(&random, PAGES - first);
        size_t offset_bytes = first * kernel.page_bytes;
        size_t size_bytes = count * kernel.page_bytes;
        assert_int_equal(fallow_region_commit(&region, offset_bytes, size_bytes), FALLOW_OK);
        switch (test_below(&random, 6)) {
        case 0: assert_int_equal(fallow_region_decommit(&region, offset_bytes, size_bytes), FALLOW_OK); break;
        case 1:
            assert_int_equal(fallow_region_purge(&region, offset_bytes, size_bytes, FALLOW_PURGE_DONTNEED), FALLOW_OK);
            break;
        case 2:
            assert_int_equal(fallow_region_purge(&region, offset_bytes, size_bytes, FALLOW_PURGE_FREE), FALLOW_OK);
            break;
        case 3:
            assert_int_equal(fallow_region_guard(&region, offset_bytes, size_bytes), FALLOW_OK);
            assert_int_equal(fallow_region_unguard(&region, offset_bytes, size_bytes), FALLOW_OK);
            break;
        case 4:
            assert_int_equal(fallow_region_protect(&region, offset_bytes, size_bytes, FALLOW_PROTECTION_READ),
                             FALLOW_OK);
            break;
        default: break;
        }
        require_name("fallow: records");
    }
    assert_int_equal(fallow_region_release(&region), FALLOW_OK);
}

/* What is about one mapping only does not end all naming; a kernel that knows no names is asked once. */
static void refusals_of_names(void **state)
{
    (void)state;
    static const int passing[] = {ENOMEM, EBADF};
    fallow_region region;
    for (size_t i = 0; i < 2; i++) {
        kernel_on();
        kernel.refuses = passing[i];
        region = reserve("refused");
        assert_int_equal(kernel.calls, 1);
        assert_int_equal(fallow_region_release(&region), FALLOW_OK);
        kernel.refuses = 0;
        region = reserve("granted");
        require_name("fallow: granted");
        assert_int_equal(fallow_region_release(&region), FALLOW_OK);
    }
    kernel_on();
    kernel.refuses = EINVAL;
    region = reserve("unknown");
    assert_int_equal(kernel.calls, 1);
    assert_int_equal(fallow_region_commit(&region, 0, kernel.page_bytes), FALLOW_OK);
    assert_int_equal(fallow_region_decommit(&region, 0, kernel.page_bytes), FALLOW_OK);
    assert_int_equal(fallow_region_release(&region), FALLOW_OK);
    assert_int_equal(kernel.calls, 1);
}

/* --- the kernel at hand -------------------------------------------------------------------------------------- */

typedef struct named {
    const char *name;
    uint64_t bytes;
    uint64_t mappings;
} named;

static bool add_named(void *context, const fallow__os_mapping *mapping)
{
    named *n = context;
    if (strcmp(mapping->name, n->name) == 0) {
        n->bytes += mapping->end - mapping->first;
        n->mappings++;
    }
    return true;
}

/* All of the region has the name, in as few mappings as before its pages came and went. */
static void the_kernel_shows_names(void **state)
{
    (void)state;
    fallow_system system;
    fallow__os_error error;
    kernel.is_on = false;
    fallow_system_info(&system);
    if (!system.has_mapping_names) {
        print_message("SKIPPED: this kernel shows no names (CONFIG_ANON_VMA_NAME)\n");
        skip();
    }
    size_t page = fallow__os_page_bytes();
    fallow_region region = reserve("kept by the kernel");
    for (size_t i = 0; i < PAGES; i += 2) {
        assert_int_equal(fallow_region_commit(&region, i * page, page), FALLOW_OK);
        *((char *)region.base + i * page) = 1;
    }
    named spread = {.name = "fallow: kept by the kernel"};
    assert_int_equal(fallow__os_mappings(fallow__os_process_id(), add_named, &spread, &error), FALLOW_OK);
    assert_int_equal(spread.bytes, region.size_bytes);
    for (size_t i = 0; i < PAGES; i += 2) {
        assert_int_equal(fallow_region_decommit(&region, i * page, page), FALLOW_OK);
    }
    named whole = {.name = spread.name};
    assert_int_equal(fallow__os_mappings(fallow__os_process_id(), add_named, &whole, &error), FALLOW_OK);
    assert_int_equal(whole.bytes, region.size_bytes);
    assert_int_equal(whole.mappings, 1);
    assert_int_equal(fallow_region_release(&region), FALLOW_OK);
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_shows_names), /* first: refusals_of_names ends naming in this process */
        cmocka_unit_test(a_name_is_given_and_made_fit),
        cmocka_unit_test(a_name_stays_whatever_is_done),
        cmocka_unit_test(refusals_of_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
