/* Pieces of drawings that the tools and the bench share. */
#ifndef FALLOW_TOOLS_SVG_H
#define FALLOW_TOOLS_SVG_H

#include <stdio.h>

/* Begin a drawing on white. Its style sheet knows these classes of text: title, heading, note; end and middle, which
 * anchor it; and of lines: grid, fine. more_style: rules of the caller's own, "" if none. */
void svg_begin(FILE *out, double width, double height, const char *more_style);
void svg_end(FILE *out);

/* Text as XML wants it. */
void svg_escaped(FILE *out, const char *text);

/* class: one of those above, or several with blanks between. */
void svg_text(FILE *out, double x, double y, const char *class, const char *text);

#endif
