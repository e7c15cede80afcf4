/* Pictures of arenas in files: what fallow_arena_write_map has drawn, kept, and put into a larger drawing or page. */
#ifndef FALLOW_TOOLS_PICTURE_H
#define FALLOW_TOOLS_PICTURE_H

#include "tool.h"

/* Pixels; what fallow_arena_write_map makes its drawings. */
#define PICTURE_WIDTH 942

/* {0} is an empty one. */
typedef struct picture {
    char *text;
    size_t used;
    size_t room;
} picture;

/* Draw an arena into it. rows 0: as many as the library likes. false, and told on stderr: no memory. */
bool picture_draw(picture *self, fallow_arena *arena, fallow_map_format format, unsigned rows);
void picture_free(picture *self);

/* Of a drawing (FALLOW_MAP_SVG). */
double picture_height(const picture *self);

/* Put a drawing into another one. */
void picture_place(const picture *self, FILE *out, double top);

/* Open a file to draw in; NULL, and told on stderr, if that cannot be. */
FILE *picture_open(const char *path);

/* Whether all of it is in the file; else told on stderr. */
bool picture_close(FILE *file, const char *path);

#endif
