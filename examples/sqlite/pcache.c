#include "pcache.h"

#include <sqlite3.h>
#include <string.h>

#define SLAB_BYTES ((size_t)16 << 10)
#define FIRST_BUCKETS 512U

typedef struct entry {
    sqlite3_pcache_page page; /* first: SQLite hands back its address */
    unsigned key;             /* the page's number in its file */
    bool is_pinned;           /* SQLite uses it: it must stay, and is in no list but its bucket's */
    struct entry *in_bucket;  /* the next one; in the list of free entries too */
    struct entry *older;
    struct entry *newer;
} entry;

typedef struct slab {
    struct slab *next;
} slab;

/* The sqlite3_pcache of a database of a connection. */
typedef struct page_cache {
    struct page_cache *next; /* in the group */
    size_t page_bytes;
    size_t entry_bytes; /* with SQLite's own bytes */
    bool is_purgeable;  /* pages may be dropped: they are in a file */
    unsigned max_count; /* how many pages SQLite wishes it to have at most */
    unsigned count;
    unsigned unpinned_count;
    unsigned bucket_count;
    entry **buckets;
    entry *oldest; /* of the unpinned */
    entry *newest;
    entry *free_entries;
    slab *slabs;
} page_cache;

/* All caches, of all connections: they share the arena and its limit, so one may have to give way to another. The lock is
 * held in every call that SQLite makes. */
static struct {
    fallow_arena *arena;
    sqlite3_mutex *lock;
    page_cache *caches;
} group;

/* --- entries --------------------------------------------------------------------------------------------------------- */

static entry **bucket_of(const page_cache *cache, unsigned key)
{
    return &cache->buckets[key & (cache->bucket_count - 1)];
}

static entry *find(const page_cache *cache, unsigned key)
{
    entry *found = *bucket_of(cache, key);
    while (found != NULL && found->key != key) {
        found = found->in_bucket;
    }
    return found;
}

static void enter(page_cache *cache, entry *added)
{
    entry **bucket = bucket_of(cache, added->key);
    added->in_bucket = *bucket;
    *bucket = added;
    cache->count++;
}

static void leave(page_cache *cache, const entry *removed)
{
    entry **link = bucket_of(cache, removed->key);
    while (*link != removed) {
        link = &(*link)->in_bucket;
    }
    *link = removed->in_bucket;
    cache->count--;
}

/* --- pinned or not --------------------------------------------------------------------------------------------------- */

static void pin(page_cache *cache, entry *pinned)
{
    *(pinned->older != NULL ? &pinned->older->newer : &cache->oldest) = pinned->newer;
    *(pinned->newer != NULL ? &pinned->newer->older : &cache->newest) = pinned->older;
    pinned->is_pinned = true;
    cache->unpinned_count--;
}

static void unpin(page_cache *cache, entry *unpinned)
{
    unpinned->older = cache->newest;
    unpinned->newer = NULL;
    *(cache->newest != NULL ? &cache->newest->newer : &cache->oldest) = unpinned;
    cache->newest = unpinned;
    unpinned->is_pinned = false;
    cache->unpinned_count++;
}

static void free_entry(page_cache *cache, entry *freed)
{
    freed->in_bucket = cache->free_entries;
    cache->free_entries = freed;
}

/* The page's memory goes back to the arena, the entry to the cache. */
static void drop(page_cache *cache, entry *dropped)
{
    if (!dropped->is_pinned) {
        pin(cache, dropped);
    }
    leave(cache, dropped);
    fallow_arena_free(group.arena, dropped->page.pBuf, cache->page_bytes);
    free_entry(cache, dropped);
}

static void drop_beyond(page_cache *cache, unsigned count)
{
    while (cache->is_purgeable && cache->count > count && cache->oldest != NULL) {
        drop(cache, cache->oldest);
    }
}

/* --- memory, where others may have to give way ------------------------------------------------------------------------ */

static bool drop_oldest(page_cache *cache)
{
    if (!cache->is_purgeable || cache->oldest == NULL) {
        return false;
    }
    drop(cache, cache->oldest);
    return true;
}

/* Memory for `cache`. At the arena's limit pages that no one uses make room: its own first, then those of others. */
static void *take(page_cache *cache, size_t bytes)
{
    void *run;
    while (fallow_arena_alloc(group.arena, bytes, &run) != FALLOW_OK) {
        bool has_dropped = drop_oldest(cache);
        for (page_cache *other = group.caches; other != NULL && !has_dropped; other = other->next) {
            has_dropped = drop_oldest(other);
        }
        if (!has_dropped) {
            return NULL;
        }
    }
    return run;
}

static entry *take_entry(page_cache *cache)
{
    if (cache->free_entries == NULL) {
        slab *added = take(cache, SLAB_BYTES);
        if (added == NULL) {
            return NULL;
        }
        added->next = cache->slabs;
        cache->slabs = added;
        char *const end = (char *)added + SLAB_BYTES;
        for (char *at = (char *)added + 16; at + cache->entry_bytes <= end; at += cache->entry_bytes) {
            free_entry(cache, (entry *)at);
        }
    }
    entry *taken = cache->free_entries;
    cache->free_entries = taken->in_bucket;
    return taken;
}

/* More buckets than entries; where memory is short, longer buckets. */
static void widen(page_cache *cache)
{
    entry **const old = cache->buckets;
    const unsigned old_count = cache->bucket_count;
    entry **wider = take(cache, 2 * old_count * sizeof *wider);
    if (wider == NULL) {
        return;
    }
    memset(wider, 0, 2 * old_count * sizeof *wider);
    cache->buckets = wider;
    cache->bucket_count = 2 * old_count;
    cache->count = 0;
    for (unsigned i = 0; i < old_count; i++) {
        for (entry *moved = old[i], *next; moved != NULL; moved = next) {
            next = moved->in_bucket;
            enter(cache, moved);
        }
    }
    fallow_arena_free(group.arena, old, old_count * sizeof(entry *));
}

/* --- what SQLite calls ----------------------------------------------------------------------------------------------- */

static int on_init(void *unused)
{
    (void)unused;
    group.lock = sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_APP1); /* NULL in a SQLite for one thread; that is fine */
    return SQLITE_OK;
}

static void on_shutdown(void *unused)
{
    (void)unused;
}

static page_cache *enter_group(sqlite3_pcache *self)
{
    sqlite3_mutex_enter(group.lock);
    return (page_cache *)self;
}

static void leave_group(void)
{
    sqlite3_mutex_leave(group.lock);
}

static sqlite3_pcache *on_create(int page_bytes, int extra_bytes, int is_purgeable)
{
    page_cache made = {
        .page_bytes = (size_t)page_bytes,
        .entry_bytes = (sizeof(entry) + (size_t)extra_bytes + 15) / 16 * 16,
        .is_purgeable = is_purgeable != 0,
        .bucket_count = FIRST_BUCKETS,
    };
    enter_group(NULL);
    page_cache *created = take(&made, sizeof *created);
    made.buckets = take(&made, FIRST_BUCKETS * sizeof(entry *));
    if (created == NULL || made.buckets == NULL) {
        fallow_arena_free(group.arena, created, sizeof *created);
        fallow_arena_free(group.arena, made.buckets, FIRST_BUCKETS * sizeof(entry *));
        created = NULL;
    } else {
        memset(made.buckets, 0, FIRST_BUCKETS * sizeof(entry *));
        made.next = group.caches;
        *created = made;
        group.caches = created;
    }
    leave_group();
    return (sqlite3_pcache *)created;
}

static void on_cachesize(sqlite3_pcache *self, int count)
{
    page_cache *cache = enter_group(self);
    cache->max_count = count > 0 ? (unsigned)count : 0;
    drop_beyond(cache, cache->max_count);
    leave_group();
}

static int on_pagecount(sqlite3_pcache *self)
{
    const unsigned count = enter_group(self)->count;
    leave_group();
    return (int)count;
}

static entry *add(page_cache *cache, unsigned key)
{
    if (cache->max_count > 0) {
        drop_beyond(cache, cache->max_count - 1);
    }
    if (cache->count >= cache->bucket_count) {
        widen(cache);
    }
    entry *added = take_entry(cache);
    void *page = added != NULL ? take(cache, cache->page_bytes) : NULL;
    if (page != NULL) {
        *added = (entry){.page = {.pBuf = page, .pExtra = added + 1}, .key = key, .is_pinned = true};
        memset(added->page.pExtra, 0, cache->entry_bytes - sizeof(entry));
        enter(cache, added);
        return added;
    }
    if (added != NULL) {
        free_entry(cache, added);
    }
    return NULL;
}

/* create: 0 = only if it is there, 1 = if that is easy, 2 = if it can be done at all. */
static sqlite3_pcache_page *on_fetch(sqlite3_pcache *self, unsigned key, int create)
{
    page_cache *cache = enter_group(self);
    entry *found = find(cache, key);
    if (found != NULL) {
        if (!found->is_pinned) {
            pin(cache, found);
        }
    } else {
        /* What is not easy: as many pages in use as SQLite wishes to have. It writes some out then, and asks with 2. */
        const bool is_easy = !cache->is_purgeable || cache->count - cache->unpinned_count < cache->max_count;
        if (create == 2 || (create == 1 && is_easy)) {
            found = add(cache, key);
        }
    }
    leave_group();
    return found != NULL ? &found->page : NULL;
}

static void on_unpin(sqlite3_pcache *self, sqlite3_pcache_page *page, int discard)
{
    page_cache *cache = enter_group(self);
    entry *unpinned = (entry *)page;
    if (discard != 0) {
        drop(cache, unpinned);
    } else {
        unpin(cache, unpinned);
        drop_beyond(cache, cache->max_count);
    }
    leave_group();
}

static void on_rekey(sqlite3_pcache *self, sqlite3_pcache_page *page, unsigned old_key, unsigned new_key)
{
    page_cache *cache = enter_group(self);
    entry *moved = (entry *)page;
    entry *in_the_way = find(cache, new_key);
    (void)old_key; /* moved->key */
    if (in_the_way != NULL) {
        drop(cache, in_the_way);
    }
    leave(cache, moved);
    moved->key = new_key;
    enter(cache, moved);
    leave_group();
}

/* Pinned or not. */
static void drop_from(page_cache *cache, unsigned key)
{
    for (unsigned i = 0; i < cache->bucket_count && cache->count > 0; i++) {
        for (entry *looked_at = cache->buckets[i], *next; looked_at != NULL; looked_at = next) {
            next = looked_at->in_bucket;
            if (looked_at->key >= key) {
                drop(cache, looked_at);
            }
        }
    }
}

static void on_truncate(sqlite3_pcache *self, unsigned key)
{
    drop_from(enter_group(self), key);
    leave_group();
}

static void on_destroy(sqlite3_pcache *self)
{
    page_cache *cache = enter_group(self);
    page_cache **link = &group.caches;
    while (*link != cache) {
        link = &(*link)->next;
    }
    *link = cache->next;
    drop_from(cache, 0);
    for (slab *freed = cache->slabs, *next; freed != NULL; freed = next) {
        next = freed->next;
        fallow_arena_free(group.arena, freed, SLAB_BYTES);
    }
    fallow_arena_free(group.arena, cache->buckets, cache->bucket_count * sizeof(entry *));
    fallow_arena_free(group.arena, cache, sizeof *cache);
    leave_group();
}

/* sqlite3_db_release_memory, PRAGMA shrink_memory: all that can go, goes back to the system. What the system refuses to
 * take stays with the arena, for the next pages. */
static void on_shrink(sqlite3_pcache *self)
{
    size_t released_bytes = 0;
    drop_beyond(enter_group(self), 0);
    if (fallow_arena_trim(group.arena, 0, &released_bytes) != FALLOW_OK) {
        sqlite3_log(SQLITE_WARNING, "page cache: the system took only %zu bytes back", released_bytes);
    }
    leave_group();
}

int pcache_use(fallow_arena *arena)
{
    const sqlite3_pcache_methods2 methods = {
        .iVersion = 1,
        .xInit = on_init,
        .xShutdown = on_shutdown,
        .xCreate = on_create,
        .xCachesize = on_cachesize,
        .xPagecount = on_pagecount,
        .xFetch = on_fetch,
        .xUnpin = on_unpin,
        .xRekey = on_rekey,
        .xTruncate = on_truncate,
        .xDestroy = on_destroy,
        .xShrink = on_shrink,
    };
    group.arena = arena;
    return sqlite3_config(SQLITE_CONFIG_PCACHE2, &methods);
}
