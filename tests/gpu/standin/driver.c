/* A recording stand-in for the CUDA driver library, for tests of host code without a GPU.

   It keeps the promises of the driver that host code relies on: contexts belong to threads, memory
   has bounds, a captured stream runs nothing, a graph holds its nodes in order. Kernels compute
   nothing; copies copy, because "device" memory is host memory. What is not modelled is refused
   with an error of the driver, never guessed. Every call is one line of a log.

   STANDIN_FAIL="cuGraphLaunch:2:700,..." makes the second call of cuGraphLaunch return error 700.
   Built by tests/gpu/standin/__init__.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result; /* CUresult, with the values of cuda.h */
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_HANDLE = 400,
       NOT_FOUND = 500, CAPTURE_UNSUPPORTED = 900, NOT_SUPPORTED = 801 };
typedef struct { unsigned grid[3], block[3], shared_bytes; void *stream, *attributes; unsigned count; } Config;
typedef struct { char name[128]; } Kernel;
typedef struct { char *image; Kernel kernels[64]; int count; } Library;
typedef struct { char text[256]; void *to; const void *from; size_t bytes; unsigned fill; } Node;
typedef struct { Node nodes[64]; int count; } Graph;
typedef struct { Graph *captured; } Stream;
typedef struct { int recorded; } Event;
typedef struct Block { char *start; size_t bytes; int host; struct Block *next; } Block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *log_text;
static size_t log_used, log_room;
static Block *blocks;
static int context; /* its address is the primary context of the one device */
static int pool;
static __thread void *current;

/* The log. */

static void write_line(const char *name, const char *detail) {
    size_t need = strlen(name) + strlen(detail) + 3;
    pthread_mutex_lock(&lock);
    while (log_used + need > log_room) log_text = realloc(log_text, log_room = 2 * log_room + 4096);
    log_used += (size_t)sprintf(log_text + log_used, *detail ? "%s %s\n" : "%s%s\n", name, detail);
    pthread_mutex_unlock(&lock);
}

static Result injected(const char *name) { /* the error that STANDIN_FAIL asks for, if this call is it */
    static struct { char name[64]; int at, error, seen; } faults[8];
    static int count = -1;
    Result error = SUCCESS;
    pthread_mutex_lock(&lock);
    if (count < 0) {
        const char *text = getenv("STANDIN_FAIL");
        for (count = 0; text && count < 8; text = strchr(text, ','), text = text ? text + 1 : NULL)
            count += sscanf(text, "%63[^:]:%d:%d", faults[count].name, &faults[count].at, &faults[count].error) == 3;
    }
    for (int i = 0; i < count; i++)
        if (!strcmp(faults[i].name, name) && ++faults[i].seen == faults[i].at) error = faults[i].error;
    pthread_mutex_unlock(&lock);
    return error;
}

static Result enter(const char *name, const char *detail) {
    write_line(name, detail);
    return injected(name);
}

/* An entry point of the driver; `return` inside its body answers the caller. */
#define CALL(name, ...) Result name(__VA_ARGS__)
#define ENTER(detail) do { Result wrong = enter(__func__, detail); if (wrong) return wrong; } while (0)
#define NEED_CONTEXT() do { if (!current) return INVALID_CONTEXT; } while (0)

const char *standin_log(void) { return log_text ? log_text : ""; }
void standin_clear(void) { log_used = 0; if (log_text) *log_text = 0; }

/* The driver, its device and its context. */

CALL(cuInit, unsigned flags) { ENTER(""); return SUCCESS; }
CALL(cuDriverGetVersion, int *version) { *version = 13000; return SUCCESS; }
CALL(cuDeviceGetCount, int *count) { *count = 1; return SUCCESS; }
CALL(cuDeviceGet, int *device, int ordinal) { *device = ordinal; return ordinal ? INVALID_VALUE : SUCCESS; }
CALL(cuDeviceGetName, char *name, int room, int device) { snprintf(name, (size_t)room, "stand-in"); return SUCCESS; }
CALL(cuDeviceGetUuid, char *uuid, int device) { memset(uuid, 7, 16); return SUCCESS; }
CALL(cuDeviceTotalMem, size_t *bytes, int device) { *bytes = (size_t)80 << 30; return SUCCESS; }
CALL(cuMemGetInfo, size_t *free_bytes, size_t *bytes) { *free_bytes = *bytes = (size_t)80 << 30; return SUCCESS; }
CALL(cuDeviceGetAttribute, int *value, int attribute, int device) {
    static const int known[][2] = { /* CUdevice_attribute, value of a card of compute capability 9.0 */
        {1, 1024}, {2, 1024}, {3, 1024}, {4, 64}, {5, 2147483647}, {6, 65535}, {7, 65535}, {8, 49152}, {10, 32},
        {12, 65536}, {13, 1980000}, {16, 132}, {31, 1}, {36, 2619000}, {37, 5120}, {38, 52428800}, {39, 2048},
        {41, 1}, {75, 9}, {76, 0}, {81, 233472}, {82, 65536}, {83, 1}, {88, 0}, {89, 0}, {95, 1}, {97, 232448},
        {106, 32}, {115, 1}, {120, 1}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i][0] == attribute) { *value = known[i][1]; return SUCCESS; }
    return INVALID_VALUE;
}
CALL(cuDevicePrimaryCtxRetain, void **held, int device) { ENTER(""); *held = &context; return SUCCESS; }
CALL(cuDevicePrimaryCtxRelease, int device) { return SUCCESS; }
CALL(cuDevicePrimaryCtxGetState, int device, unsigned *flags, int *active) { *flags = 0; *active = 1; return SUCCESS; }
CALL(cuCtxGetCurrent, void **held) { *held = current; return SUCCESS; }
CALL(cuCtxSetCurrent, void *held) { ENTER(""); current = held; return SUCCESS; }
CALL(cuCtxPushCurrent, void *held) { current = held; return SUCCESS; }
CALL(cuCtxPopCurrent, void **held) { *held = current; current = NULL; return SUCCESS; }
CALL(cuCtxGetDevice, int *device) { NEED_CONTEXT(); *device = 0; return SUCCESS; }
CALL(cuCtxSynchronize, void) { ENTER(""); NEED_CONTEXT(); return SUCCESS; }
CALL(cuCtxGetStreamPriorityRange, int *least, int *greatest) { *least = 0; *greatest = -5; return SUCCESS; }
CALL(cuGetErrorName, int error, const char **name) {
    static __thread char text[32];
    snprintf(text, sizeof text, "STANDIN_ERROR_%d", error);
    *name = text;
    return SUCCESS;
}
CALL(cuGetErrorString, int error, const char **text) { return cuGetErrorName(error, text); }

/* Memory. */

static Graph *captured_on(const Stream *stream) { /* handles 0, 1 and 2 name the default streams */
    return (uintptr_t)stream > 2 ? stream->captured : NULL;
}

static Block *block_of(const void *at) {
    for (Block *b = blocks; b; b = b->next)
        if ((const char *)at >= b->start && (const char *)at < b->start + b->bytes) return b;
    return NULL;
}
static Result allocate(void **start, size_t bytes, int host) {
    Block *block = malloc(sizeof *block);
    if (!bytes || posix_memalign((void **)&block->start, 512, bytes)) return free(block), OUT_OF_MEMORY;
    memset(block->start, 0xA5, bytes); /* what nobody wrote is no zero */
    block->bytes = bytes, block->host = host;
    pthread_mutex_lock(&lock);
    block->next = blocks, blocks = block;
    pthread_mutex_unlock(&lock);
    *start = block->start;
    return SUCCESS;
}
static Result release(void *start) {
    Result found = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (Block **b = &blocks; *b; b = &(*b)->next)
        if ((*b)->start == start) {
            Block *gone = *b;
            *b = gone->next, free(gone->start), free(gone), found = SUCCESS;
            break;
        }
    pthread_mutex_unlock(&lock);
    return found;
}
CALL(cuMemAlloc, void **at, size_t bytes) { ENTER(""); NEED_CONTEXT(); return allocate(at, bytes, 0); }
CALL(cuMemFree, void *at) { ENTER(""); return release(at); }
CALL(cuMemAllocHost, void **at, size_t bytes) { ENTER(""); NEED_CONTEXT(); return allocate(at, bytes, 1); }
CALL(cuMemHostAlloc, void **at, size_t bytes, unsigned flags) { ENTER(""); NEED_CONTEXT(); return allocate(at, bytes, 1); }
CALL(cuMemFreeHost, void *at) { ENTER(""); return release(at); }
CALL(cuMemAllocFromPoolAsync, void **at, size_t bytes, void *from, Stream *stream) {
    ENTER("");
    NEED_CONTEXT();
    return captured_on(stream) ? NOT_SUPPORTED : allocate(at, bytes, 0);
}
CALL(cuMemFreeAsync, void *at, Stream *stream) { ENTER(""); return release(at); }
CALL(cuDeviceGetMemPool, void **held, int device) { *held = &pool; return SUCCESS; }
CALL(cuDeviceGetDefaultMemPool, void **held, int device) { *held = &pool; return SUCCESS; }
CALL(cuMemPoolGetAttribute, void *held, int attribute, uint64_t *value) { *value = 0; return SUCCESS; }
CALL(cuMemPoolSetAttribute, void *held, int attribute, void *value) { return SUCCESS; }
CALL(cuPointerGetAttribute, void *value, int attribute, void *at) {
    const Block *block = block_of(at);
    switch (attribute) {
    case 1: *(void **)value = &context; return SUCCESS;
    case 2: if (block) *(int *)value = block->host ? 1 : 2; return block ? SUCCESS : INVALID_VALUE;
    case 3: *(void **)value = at; return SUCCESS;
    case 8: case 9: *(int *)value = 0; return SUCCESS; /* not managed; device 0 */
    default: return INVALID_VALUE;
    }
}
CALL(cuPointerGetAttributes, unsigned count, int *attributes, void **values, void *at) {
    for (unsigned i = 0; i < count; i++)
        if (cuPointerGetAttribute(values[i], attributes[i], at)) *(int *)values[i] = 0;
    return SUCCESS;
}

/* Streams and events: everything is done when it was asked for. */


CALL(cuStreamCreateWithPriority, Stream **stream, unsigned flags, int priority) {
    ENTER("");
    NEED_CONTEXT();
    *stream = calloc(1, sizeof **stream);
    return SUCCESS;
}
CALL(cuStreamCreate, Stream **stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }
CALL(cuStreamDestroy, Stream *stream) { free(stream); return SUCCESS; }
CALL(cuStreamGetCtx, Stream *stream, void **held) { *held = &context; return SUCCESS; }
CALL(cuStreamGetDevice, Stream *stream, int *device) { *device = 0; return SUCCESS; }
CALL(cuStreamQuery, Stream *stream) { ENTER(""); return captured_on(stream) ? CAPTURE_UNSUPPORTED : SUCCESS; }
CALL(cuStreamSynchronize, Stream *stream) { ENTER(""); return captured_on(stream) ? CAPTURE_UNSUPPORTED : SUCCESS; }
CALL(cuStreamWaitEvent, Stream *stream, Event *event, unsigned flags) { ENTER(""); return SUCCESS; }
CALL(cuEventCreate, Event **event, unsigned flags) {
    ENTER("");
    NEED_CONTEXT();
    *event = calloc(1, sizeof **event);
    return SUCCESS;
}
CALL(cuEventDestroy, Event *event) { ENTER(""); free(event); return SUCCESS; }
CALL(cuEventRecord, Event *event, Stream *stream) { ENTER(""); NEED_CONTEXT(); event->recorded = 1; return SUCCESS; }
CALL(cuEventQuery, Event *event) { ENTER(""); return SUCCESS; }
CALL(cuEventSynchronize, Event *event) { ENTER(""); return SUCCESS; }
CALL(cuEventElapsedTime, float *ms, Event *first, Event *last) { /* no time passes here: any two are 1 ms apart */
    ENTER("");
    *ms = 1;
    return first->recorded && last->recorded ? SUCCESS : INVALID_HANDLE;
}

/* Work: run at once, or kept as a node while its stream is captured. */

static void run(const Node *node) { /* a copy, a fill, or a kernel, which does nothing */
    if (node->from) memmove(node->to, node->from, node->bytes);
    else for (size_t i = 0; i < node->bytes; i++) ((char *)node->to)[i] = ((const char *)&node->fill)[i % 4];
}
static Result run_or_keep(Stream *stream, const char *name, Node node) {
    char detail[300];
    snprintf(detail, sizeof detail, "%s%s", captured_on(stream) ? "captured " : "", node.text);
    Result wrong = enter(name, detail);
    if (wrong) return wrong;
    NEED_CONTEXT();
    Graph *graph = captured_on(stream);
    if (graph) {
        if (graph->count == 64) return OUT_OF_MEMORY;
        graph->nodes[graph->count++] = node;
    } else run(&node);
    return SUCCESS;
}
static Result copy(const char *name, void *to, const void *from, size_t bytes, Stream *stream) {
    const Block *ends[] = {block_of(to), block_of(from)};
    const char *starts[] = {to, from};
    for (int i = 0; i < 2; i++)
        if (ends[i] && starts[i] + bytes > ends[i]->start + ends[i]->bytes) return INVALID_VALUE;
    if (!ends[0] && !ends[1]) return INVALID_VALUE;
    Node node = {.to = to, .from = from, .bytes = bytes};
    snprintf(node.text, sizeof node.text, "copy,%zu", bytes);
    return run_or_keep(stream, name, node);
}
CALL(cuMemcpyAsync, void *to, void *from, size_t bytes, Stream *stream) { return copy(__func__, to, from, bytes, stream); }
CALL(cuMemcpyHtoDAsync, void *to, void *from, size_t bytes, Stream *stream) { return copy(__func__, to, from, bytes, stream); }
CALL(cuMemcpyDtoHAsync, void *to, void *from, size_t bytes, Stream *stream) { return copy(__func__, to, from, bytes, stream); }
CALL(cuMemcpyHtoD, void *to, void *from, size_t bytes) { return copy(__func__, to, from, bytes, NULL); }
CALL(cuMemcpyDtoH, void *to, void *from, size_t bytes) { return copy(__func__, to, from, bytes, NULL); }
static Result fill(const char *name, void *to, unsigned pattern, size_t bytes, Stream *stream) {
    const Block *block = block_of(to);
    if (!block || (char *)to + bytes > block->start + block->bytes) return INVALID_VALUE;
    Node node = {.to = to, .bytes = bytes, .fill = pattern};
    snprintf(node.text, sizeof node.text, "fill,%zu", bytes);
    return run_or_keep(stream, name, node);
}
CALL(cuMemsetD8Async, void *to, unsigned char value, size_t count, Stream *stream) { return fill(__func__, to, value * 0x01010101u, count, stream); }
CALL(cuMemsetD32Async, void *to, unsigned value, size_t count, Stream *stream) { return fill(__func__, to, value, 4 * count, stream); }

CALL(cuLibraryLoadData, Library **library, const void *image, void *a, void *b, unsigned c, void *d, void *e, unsigned f) {
    ENTER("");
    NEED_CONTEXT();
    *library = calloc(1, sizeof **library);
    if (memcmp(image, "\177ELF", 4)) (*library)->image = strdup(image); /* PTX: text */
    return SUCCESS;
}
CALL(cuLibraryUnload, Library *library) { return SUCCESS; } /* its kernels may still be named */
CALL(cuLibraryGetKernel, Kernel **kernel, Library *library, const char *name) {
    ENTER(name);
    char entry[160];
    snprintf(entry, sizeof entry, ".entry %.127s(", name);
    if (library->count == 64 || (library->image && !strstr(library->image, entry))) return NOT_FOUND;
    *kernel = &library->kernels[library->count++];
    snprintf((*kernel)->name, sizeof (*kernel)->name, "%s", name);
    return SUCCESS;
}
CALL(cuLibraryGetModule, void **module, Library *library) { *module = library; return SUCCESS; }
CALL(cuKernelGetFunction, void **function, Kernel *kernel) { *function = kernel; return SUCCESS; }
CALL(cuKernelGetLibrary, void **library, Kernel *kernel) { return NOT_FOUND; }
CALL(cuKernelGetAttribute, int *value, int attribute, Kernel *kernel, int device) { *value = attribute ? 0 : 1024; return SUCCESS; }
CALL(cuLaunchKernelEx, const Config *config, Kernel *kernel, void **arguments, void **extra) {
    const unsigned *grid = config->grid, *block = config->block;
    Node node = {0};
    snprintf(node.text, sizeof node.text, "%s,%u,%u,%u,%u,%u,%u,%u", kernel->name, grid[0], grid[1], grid[2],
             block[0], block[1], block[2], config->shared_bytes);
    size_t threads = (size_t)block[0] * block[1] * block[2];
    if (threads == 0 || threads > 1024 || !grid[0] || !grid[1] || !grid[2]) return INVALID_VALUE;
    return run_or_keep(config->stream, __func__, node);
}

/* Graphs. */

CALL(cuStreamBeginCapture, Stream *stream, int mode) {
    ENTER("");
    stream->captured = calloc(1, sizeof(Graph));
    return SUCCESS;
}
CALL(cuStreamEndCapture, Stream *stream, Graph **graph) {
    ENTER("");
    *graph = stream->captured;
    stream->captured = NULL;
    return *graph ? SUCCESS : INVALID_VALUE;
}
CALL(cuStreamIsCapturing, Stream *stream, int *status) { *status = captured_on(stream) != NULL; return SUCCESS; }
CALL(cuStreamGetCaptureInfo, Stream *stream, int *status, uint64_t *id, Graph **graph, void **nodes, void **edges, size_t *count) {
    *status = captured_on(stream) != NULL;
    if (id) *id = 1;
    if (graph) *graph = captured_on(stream);
    if (nodes) *nodes = NULL;
    if (edges) *edges = NULL;
    if (count) *count = 0;
    return SUCCESS;
}
CALL(cuGraphInstantiateWithParams, Graph **ready, Graph *graph, void *parameters) {
    ENTER("");
    *ready = malloc(sizeof **ready);
    **ready = *graph;
    ((int *)parameters)[6] = 0; /* result_out of CUDA_GRAPH_INSTANTIATE_PARAMS: success */
    return SUCCESS;
}
CALL(cuGraphInstantiateWithFlags, Graph **ready, Graph *graph, uint64_t flags) {
    int parameters[8] = {0};
    return cuGraphInstantiateWithParams(ready, graph, parameters);
}
CALL(cuGraphInstantiate, Graph **ready, Graph *graph, uint64_t flags) { return cuGraphInstantiateWithFlags(ready, graph, flags); }
/* What a graph keeps alive lives here until the process ends. */
CALL(cuUserObjectCreate, void **object, void *held, void (*destroy)(void *), unsigned count, unsigned flags) {
    *object = held;
    return SUCCESS;
}
CALL(cuUserObjectRelease, void *object, unsigned count) { return SUCCESS; }
CALL(cuGraphRetainUserObject, Graph *graph, void *object, unsigned count, unsigned flags) { return SUCCESS; }
CALL(cuGraphReleaseUserObject, Graph *graph, void *object, unsigned count) { return SUCCESS; }
CALL(cuGraphDestroy, Graph *graph) { free(graph); return SUCCESS; }
CALL(cuGraphExecDestroy, Graph *graph) { free(graph); return SUCCESS; }
CALL(cuGraphUpload, Graph *graph, Stream *stream) { ENTER(""); return SUCCESS; }
CALL(cuGraphLaunch, Graph *graph, Stream *stream) {
    char detail[sizeof graph->nodes] = "";
    size_t used = 0;
    for (int i = 0; i < graph->count; i++)
        used += (size_t)sprintf(detail + used, i ? " %s" : "%s", graph->nodes[i].text);
    ENTER(detail);
    NEED_CONTEXT();
    for (int i = 0; i < graph->count; i++) run(&graph->nodes[i]);
    return SUCCESS;
}

/* The way to all of the above. */

CALL(cuGetProcAddress_v2, const char *name, void **function, int version, uint64_t flags, int *status) {
    Dl_info self;
    dladdr(standin_log, &self);
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    *function = dlsym(library, name);
    if (status) *status = *function ? 0 : 1; /* CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND */
    return *function ? SUCCESS : NOT_FOUND;
}
