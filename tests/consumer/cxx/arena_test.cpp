// What the wrapper promises, with GoogleTest.
#include "arena.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace
{

fallow_arena_options small_options()
{
    fallow_arena_options options{};
    options.reserve_bytes = std::size_t{16} << 20;
    options.flags = FALLOW_ARENA_FIXED;
    return options;
}

fallow_arena_stats stats_of(const arena &read)
{
    fallow_arena_stats stats{};
    fallow_arena_read_stats(read.get(), &stats);
    return stats;
}

TEST(Arena, GivesRunsThatFreeThemselves)
{
    const arena tried = make_arena(small_options());
    {
        const run first = make_run(tried, 100000);
        const run second = make_run(tried, 1);
        EXPECT_EQ(stats_of(tried).run_count, 2U);
        EXPECT_LT(first.get(), second.get());
    }
    EXPECT_EQ(stats_of(tried).run_count, 0U);
    EXPECT_EQ(stats_of(tried).in_use_bytes, 0U);
    EXPECT_EQ(fallow_arena_check(tried.get()), FALLOW_OK);
}

TEST(Arena, ZeroesWhereAsked)
{
    const arena tried = make_arena(small_options());
    { // leave something behind
        const run dirty = make_run(tried, 65536);
        std::fill_n(dirty.get(), 65536, std::byte{0x5a});
    }
    fallow_run_options options{};
    options.flags = FALLOW_RUN_ZEROED;
    const run zeroed = make_run(tried, 65536, options);
    EXPECT_EQ(std::count(zeroed.get(), zeroed.get() + 65536, std::byte{0}), 65536);
}

TEST(Arena, MovesWithItsOwner)
{
    arena first = make_arena(small_options());
    const fallow_arena *const raw = first.get();
    const arena second = std::move(first);
    EXPECT_EQ(second.get(), raw);
    EXPECT_EQ(first.get(), nullptr);
    run taken = make_run(second, 4096);
    const run kept = std::move(taken);
    EXPECT_EQ(taken.get(), nullptr);
    EXPECT_TRUE(fallow_arena_owns(second.get(), kept.get()));
    EXPECT_EQ(stats_of(second).run_count, 1U);
}

TEST(Arena, RefusesWithItsReason)
{
    const arena tried = make_arena(small_options());
    try {
        const run too_large = make_run(tried, std::size_t{32} << 20);
        FAIL() << "32 MiB from an arena of 16 MiB";
    } catch (const refused &refusal) {
        EXPECT_EQ(refusal.status, FALLOW_ERR_EXHAUSTED);
        EXPECT_STREQ(refusal.what(), fallow_status_message(FALLOW_ERR_EXHAUSTED));
    }
    EXPECT_THROW(make_run(tried, 0), std::bad_alloc);
}

} // namespace

int main(int argc, char **argv)
{
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
