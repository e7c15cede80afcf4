/* What the program and the plugin know of each other. */
#ifndef PLUGIN_H
#define PLUGIN_H

#include <fallow.h>

typedef struct plugin {
    const char *(*version)(void); /* the address of fallow_version as the plugin has it */
    fallow_status (*start)(size_t limit_bytes);
    void *(*take)(size_t size_bytes); /* NULL: refused; `failure` tells */
    bool (*failure)(fallow_failure *failure_out);
    void (*give)(void *base, size_t size_bytes);
    bool (*owns)(const void *address);
    bool (*stop)(void); /* true: nothing was left, and the books are sound */
} plugin;

typedef const plugin *plugin_entry(void);

#endif
