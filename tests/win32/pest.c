/* Windows has no signals that interrupt a thread. */
#include "../pest.h"

bool pest_begin(bool is_restarting)
{
    (void)is_restarting;
    return false;
}

unsigned long long pest_end(void)
{
    return 0;
}

void pest_bite_me(bool is_wanted)
{
    (void)is_wanted;
}
