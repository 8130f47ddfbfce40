/* A small TFLite delegate for the tests: it takes over RESHAPE and copies bytes.
 *
 * Option `mode`: right, wrong (damages the answer), crash, hang, idle (takes nothing)
 * or refuse. The structures are TFLite's C interface as of its release 2.x.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RESHAPE = 22 };

typedef struct { int size; int data[]; } IntArray;
struct Context;
struct Delegate;

typedef struct {
  int type;
  void* data;
  IntArray* dims;
  float scale;
  int32_t zero_point;
  int allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  struct Delegate* delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  int quantization_type;
  void *quantization, *sparsity;
  const IntArray* dims_signature;
} Tensor;

typedef struct {
  IntArray *inputs, *outputs, *intermediates, *temporaries;
  void *user_data, *builtin_data;
} NodeHead;

typedef struct {
  void* (*init)(struct Context*, const char*, size_t);
  void (*free)(struct Context*, void*);
  int (*prepare)(struct Context*, NodeHead*);
  int (*invoke)(struct Context*, NodeHead*);
  const char* (*profiling)(const struct Context*, const NodeHead*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* external;
  void* async_kernel;
  uint64_t inplace_operator;
} Registration;

typedef struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(struct Context*, IntArray**);
  Tensor* tensors;
  void* impl;
  int (*ResizeTensor)(struct Context*, void*, IntArray*);
  void (*ReportError)(struct Context*, const char*, ...);
  int (*AddTensors)(struct Context*, int, int*);
  int (*GetNodeAndRegistration)(struct Context*, int, NodeHead**, Registration**);
  int (*ReplaceNodes)(struct Context*, Registration, const IntArray*, struct Delegate*);
} Context;

typedef struct Delegate {
  void* data;
  int (*Prepare)(Context*, struct Delegate*);
  void* copy_from;
  void* copy_to;
  void* free_handle;
  int64_t flags;
  void* opaque_builder;
} Delegate;

static char mode[16];

static bool is(const char* name) { return strcmp(mode, name) == 0; }

static int invoke(Context* context, NodeHead* node) {
  if (is("crash")) abort();
  while (is("hang")) sleep(1);
  int given = 0;
  for (int i = 0; i < node->outputs->size; i++) {
    Tensor* out = &context->tensors[node->outputs->data[i]];
    Tensor* in = NULL;
    for (; given < node->inputs->size; given++) {
      in = &context->tensors[node->inputs->data[given]];
      if (in->bytes == out->bytes && in->type == out->type) break;
    }
    if (!in) return 1;
    given++;
    memcpy(out->data, in->data, out->bytes);
    if (is("wrong")) memset(out->data, 0, out->bytes / 2);
  }
  return 0;
}

static int prepare_node(Context* context, NodeHead* node) { return 0; }

static int prepare(Context* context, Delegate* delegate) {
  IntArray* plan;
  if (is("idle")) return 0;
  if (context->GetExecutionPlan(context, &plan)) return 1;
  IntArray* wanted = malloc(sizeof(IntArray) + plan->size * sizeof(int));
  wanted->size = 0;
  for (int i = 0; i < plan->size; i++) {
    NodeHead* node;
    Registration* registration;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration)) return 1;
    if (registration->builtin_code == RESHAPE) wanted->data[wanted->size++] = plan->data[i];
  }
  Registration kernel = {.prepare = prepare_node, .invoke = invoke, .custom_name = "Copy", .version = 1};
  int status = context->ReplaceNodes(context, kernel, wanted, delegate);
  free(wanted);
  return status;
}

Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count,
                                        void (*report_error)(const char*)) {
  strcpy(mode, "right");
  for (size_t i = 0; i < count; i++)
    if (strcmp(keys[i], "mode") == 0) strncpy(mode, values[i], sizeof mode - 1);
  if (is("refuse")) {
    report_error("no such device");
    return NULL;
  }
  Delegate* delegate = calloc(1, sizeof(Delegate));
  delegate->Prepare = prepare;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate* delegate) { free(delegate); }
