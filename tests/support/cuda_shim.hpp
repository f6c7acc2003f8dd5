// A CUDA device as far as the kernels of charrnn/backend/cuda need one, for a C++ compiler.
//
// Blocks run one after another. So do the threads of a block, each as far as the next barrier, in
// every other block from the last to the first: whoever reads what no barrier has made sure of
// gets it wrong in one of the two orders.
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <string>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

struct Place { unsigned x, y; };
static Place threadIdx, blockIdx, blockDim, gridDim;

struct Fiber {
    enum { NEW, WAITS, ENDED } state;
    jmp_buf place;
    std::vector<char> stack;
};
static Fiber *running;
static jmp_buf scheduler;
static void (*body)();

static void begin()
{
    body();
    running->state = Fiber::ENDED;
    _longjmp(scheduler, 1);
}

static void resume(Fiber &fiber)
{
    running = &fiber;
    if (_setjmp(scheduler)) return;
    if (fiber.state == Fiber::WAITS) _longjmp(fiber.place, 1);
    ucontext_t context;
    getcontext(&context);
    fiber.stack.resize(1 << 16);
    context.uc_stack.ss_sp = fiber.stack.data();
    context.uc_stack.ss_size = fiber.stack.size();
    context.uc_link = nullptr;
    makecontext(&context, begin, 0);
    setcontext(&context);
}

static void wait_for_the_others()
{
    running->state = Fiber::WAITS;
    if (!_setjmp(running->place)) _longjmp(scheduler, 1);
}

#define __syncthreads() wait_for_the_others()
#define __global__
#define __device__
#define __shared__ static

// Whether all threads came to the same barriers.
static bool run_block(std::vector<Fiber> &fibers)
{
    const unsigned count = fibers.size();
    for (Fiber &fiber : fibers) fiber.state = Fiber::NEW;
    for (unsigned ended = 0; ended < count;) {
        ended = 0;
        for (unsigned n = 0; n < count; n++) {
            threadIdx = {blockIdx.x % 2 ? count - 1 - n : n, 0};
            resume(fibers[threadIdx.x]);
            ended += fibers[threadIdx.x].state == Fiber::ENDED;
        }
        if (ended != 0 && ended != count) return false;
    }
    return true;
}

template <class... A> struct Call {
    static inline void (*kernel)(A...);
    static inline void **arguments;
    template <std::size_t... I> static void with(std::index_sequence<I...>)
    {
        kernel(*static_cast<A *>(arguments[I])...);
    }
    static void now() { with(std::index_sequence_for<A...>{}); }
};

// As cuLaunchKernel, whose arguments are given by their addresses too.
template <class... A>
bool launch(void (*kernel)(A...), unsigned x, unsigned y, unsigned threads, bool barriers,
            void **arguments)
{
    static std::vector<Fiber> fibers;
    Call<A...>::kernel = kernel;
    Call<A...>::arguments = arguments;
    body = Call<A...>::now;
    blockDim = {threads, 1};
    gridDim = {x, y};
    fibers.resize(barriers ? threads : 0);
    for (unsigned block = 0; block < x * y; block++) {
        blockIdx = {block % x, block / x};
        if (barriers) {
            if (!run_block(fibers)) return false;
            continue;
        }
        for (threadIdx = {0, 0}; threadIdx.x < threads; threadIdx.x++) body();
    }
    return true;
}

// The arguments of a kernel: "*" for an array, then NumPy's letters for the type and a comma.
template <class... A> const char *signature(void (*)(A...))
{
    static std::string text;
    const auto add = [](auto *argument) {
        using Argument = std::remove_pointer_t<decltype(argument)>;
        using Number = std::remove_const_t<std::remove_pointer_t<Argument>>;
        if (std::is_pointer_v<Argument>) text += "*";
        text += std::is_floating_point_v<Number> ? "f" : std::is_signed_v<Number> ? "i" : "u";
        text += std::to_string(sizeof(Number)) + ",";
    };
    text.clear();
    (add(static_cast<A *>(nullptr)), ...);
    return text.c_str();
}

#define EXPORT(space, kernel) \
    extern "C" bool launch_##space(unsigned x, unsigned y, unsigned threads, bool barriers, \
                                   void **arguments) \
    { \
        return launch(space::kernel, x, y, threads, barriers, arguments); \
    } \
    extern "C" const char *signature_##space() { return signature(space::kernel); }
