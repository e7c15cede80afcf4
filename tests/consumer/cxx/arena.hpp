// fallow for C++17: an arena that ends with its scope, runs that free themselves, refusals as exceptions.
#pragma once

#include <fallow.h>

#include <cstddef>
#include <memory>
#include <new>

struct arena_deleter {
    void operator()(fallow_arena *arena) const
    {
        fallow_arena_destroy(arena);
    }
};
using arena = std::unique_ptr<fallow_arena, arena_deleter>;

struct run_deleter {
    fallow_arena *arena;
    std::size_t size_bytes;
    void operator()(std::byte *base) const
    {
        fallow_arena_free(arena, base, size_bytes);
    }
};
using run = std::unique_ptr<std::byte[], run_deleter>;

struct refused : std::bad_alloc {
    explicit refused(fallow_status status) : status(status) {}
    const char *what() const noexcept override
    {
        return fallow_status_message(status);
    }
    fallow_status status;
};

inline void check(fallow_status status)
{
    if (status != FALLOW_OK) {
        throw refused(status);
    }
}

inline arena make_arena(const fallow_arena_options &options = {})
{
    fallow_arena *created = nullptr;
    check(fallow_arena_create(&options, &created));
    return arena(created);
}

inline run make_run(const arena &from, std::size_t size_bytes, const fallow_run_options &options = {})
{
    fallow_run taken{};
    check(fallow_arena_alloc_run(from.get(), size_bytes, &options, &taken));
    return run(static_cast<std::byte *>(taken.base), run_deleter{from.get(), taken.size_bytes});
}
