#include "bench.h"
void bench_write_svg(const session *self, FILE *out)
{
    fprintf(out, "%zu", self->row_count);
}
