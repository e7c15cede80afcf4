// A C++17 program of someone else's: a text put together in a run that grows in place.
#include "arena.hpp"

#include <cstdio>
#include <cstring>
#include <string_view>

int main()
{
    try {
        fallow_arena_options options{};
        options.reserve_bytes = std::size_t{64} << 20;
        options.name = "consumer";
        const arena texts = make_arena(options);
        run text = make_run(texts, std::size_t{64} << 10);

        std::byte *const base = text.get();
        std::size_t used_bytes = 0;
        for (int line = 0; line < 20000; ++line) {
            char words[64];
            const int length = std::snprintf(words, sizeof words, "line %d of a text that never moves\n", line);
            std::size_t &room_bytes = text.get_deleter().size_bytes;
            if (used_bytes + static_cast<std::size_t>(length) > room_bytes) {
                check(fallow_arena_extend(texts.get(), base, room_bytes, 2 * room_bytes));
                room_bytes *= 2;
            }
            std::memcpy(base + used_bytes, words, static_cast<std::size_t>(length));
            used_bytes += static_cast<std::size_t>(length);
        }
        const std::string_view all(reinterpret_cast<const char *>(base), used_bytes);
        if (all.substr(0, 7) != "line 0 " || all.find("line 19999 of") == std::string_view::npos) {
            std::fprintf(stderr, "the text is damaged\n");
            return 1;
        }
        std::printf("fallow %s from C++17: %zu bytes of text\n", fallow_version(), all.size());
    } catch (const refused &refusal) {
        std::fprintf(stderr, "%s: %s\n", fallow_status_name(refusal.status), refusal.what());
        return 1;
    }
    return 0;
}
