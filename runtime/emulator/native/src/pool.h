// Threads: each calling thread has its own helpers, made when first needed.
#pragma once

namespace unmask {

using Task = void (*)(void* context, int index);

// How many cores a thread's work may use where the thread does not say.
void set_default_threads(int count);

// How many cores the calling thread's work may use.
void set_threads(int count);
int threads();

// Runs task(context, i) for i in [0, count), on this thread and its helpers; returns when all are done.
void parallel(int count, Task task, void* context);

}  // namespace unmask
