/* Pictures of arenas in files: see picture.h. */
#include "picture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool keep(void *context, const char *text, size_t bytes)
{
    picture *self = context;
    if (bytes >= self->room - self->used) {
        size_t room = 2 * self->room + bytes + 65536;
        char *longer = realloc(self->text, room);
        if (longer == NULL) {
            return false;
        }
        self->text = longer;
        self->room = room;
    }
    memcpy(self->text + self->used, text, bytes);
    self->used += bytes;
    self->text[self->used] = '\0';
    return true;
}

bool picture_draw(picture *self, fallow_arena *arena, fallow_map_format format, unsigned rows)
{
    const fallow_map_options options = {.rows = rows};
    self->used = 0;
    fallow_status status = fallow_arena_write_map(arena, format, &options, keep, self);
    if (status != FALLOW_OK) {
        fprintf(stderr, "fallow: no memory for a picture\n");
    }
    return status == FALLOW_OK;
}

void picture_free(picture *self)
{
    free(self->text);
    *self = (picture){0};
}

double picture_height(const picture *self)
{
    const char *height = strstr(self->text, " height=\"");
    return strtod(height + strlen(" height=\""), NULL);
}

void picture_place(const picture *self, FILE *out, double top)
{
    fprintf(out, "<g transform=\"translate(0,%.0f)\">\n", top);
    fwrite(self->text, 1, self->used, out);
    fprintf(out, "</g>\n");
}

FILE *picture_open(const char *path)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        fprintf(stderr, "fallow: %s: %s\n", path, strerror(errno));
    }
    return file;
}

bool picture_close(FILE *file, const char *path)
{
    bool is_written = fflush(file) == 0 && !ferror(file);
    is_written = fclose(file) == 0 && is_written;
    if (!is_written) {
        fprintf(stderr, "fallow: %s: the picture could not be written\n", path);
    }
    return is_written;
}
