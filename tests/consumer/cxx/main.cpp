// A C++17 program of someone else's: an arena behind the usual smart pointer, and a vector-like buffer that grows in
// place.
#include <fallow.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

namespace
{

struct arena_deleter {
    void operator()(fallow_arena *arena) const { fallow_arena_destroy(arena); }
};
using arena_pointer = std::unique_ptr<fallow_arena, arena_deleter>;

void check(fallow_status status, const char *what)
{
    if (status != FALLOW_OK) {
        throw std::runtime_error(std::string(what) + ": " + fallow_status_message(status));
    }
}

arena_pointer make_arena(std::size_t reserve_bytes)
{
    fallow_arena_options options{};
    options.reserve_bytes = reserve_bytes;
    options.name = "consumer";
    fallow_arena *arena = nullptr;
    check(fallow_arena_create(&options, &arena), "fallow_arena_create");
    return arena_pointer(arena);
}

fallow_arena_stats stats_of(const arena_pointer &arena)
{
    fallow_arena_stats stats{};
    fallow_arena_read_stats(arena.get(), &stats);
    return stats;
}

void require(bool condition, const char *what)
{
    if (!condition) {
        throw std::logic_error(what);
    }
}

void use_an_arena()
{
    constexpr std::size_t small_bytes = std::size_t{1} << 16;
    constexpr std::size_t large_bytes = std::size_t{4} << 20;
    const arena_pointer arena = make_arena(std::size_t{64} << 20);

    fallow_run run{};
    fallow_run_options run_options{};
    run_options.flags = FALLOW_RUN_ZEROED;
    check(fallow_arena_alloc_run(arena.get(), small_bytes, &run_options, &run), "fallow_arena_alloc_run");
    require(run.is_zero && run.size_bytes == small_bytes, "the run is as asked for");
    auto *bytes = static_cast<unsigned char *>(run.base);
    require(bytes[0] == 0 && bytes[small_bytes - 1] == 0, "the run reads zero");
    std::memset(bytes, 0x5a, small_bytes);

    check(fallow_arena_extend(arena.get(), run.base, small_bytes, large_bytes), "fallow_arena_extend");
    bytes[large_bytes - 1] = 1;
    require(bytes[small_bytes - 1] == 0x5a, "the contents stay");
    require(stats_of(arena).in_use_bytes == large_bytes, "the run has grown");

    fallow_arena_free(arena.get(), run.base, large_bytes);
    require(stats_of(arena).in_use_bytes == 0, "nothing is in use");
    check(fallow_arena_check(arena.get()), "fallow_arena_check");
}

} // namespace

int main()
{
    try {
        use_an_arena();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    std::printf("fallow %s from C++17\n", fallow_version());
    return 0;
}
