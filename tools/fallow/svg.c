/* Pieces of drawings: see svg.h. */
#include "svg.h"

void svg_begin(FILE *out, double width, double height, const char *more_style)
{
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\">\n"
            "<style>\n"
            "text { font: 12px sans-serif; fill: #222222 }\n"
            ".title { font-size: 20px; font-weight: bold }\n"
            ".heading { font-size: 14px; font-weight: bold }\n"
            ".note { font-size: 11.5px; fill: #555555 }\n"
            ".end { text-anchor: end }\n"
            ".middle { text-anchor: middle }\n"
            ".grid { stroke: #c8c8c8; fill: none }\n"
            ".fine { stroke: #ececec; fill: none }\n"
            "%s</style>\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
            width, height, width, height, more_style);
}

void svg_end(FILE *out)
{
    fprintf(out, "</svg>\n");
}

void svg_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        default: fputc((unsigned char)*text < ' ' ? '?' : *text, out);
        }
    }
}

void svg_text(FILE *out, double x, double y, const char *class, const char *text)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
    svg_escaped(out, text);
    fprintf(out, "</text>\n");
}
