// A stand-in for NVIDIA's library, of the calls that charrnn makes: they are handed on, as they
// came in, to the functions that `stand_in` was given.
#include <stddef.h>

typedef int (*SetStream)(void *handle, void *stream);
typedef int (*SetWorkspace)(void *handle, void *workspace, size_t size);
typedef int (*Gemm)(void *handle, int transa, int transb, int m, int n, int k, const void *alpha,
                    const void *A, int Atype, int lda, const void *B, int Btype, int ldb,
                    const void *beta, void *C, int Ctype, int ldc, int compute, int algorithm);

static SetStream set_stream;
static SetWorkspace set_workspace;
static Gemm gemm;

void stand_in(SetStream stream, SetWorkspace workspace, Gemm product)
{
    set_stream = stream;
    set_workspace = workspace;
    gemm = product;
}

int cublasSetStream_v2(void *handle, void *stream) { return set_stream(handle, stream); }

int cublasSetWorkspace_v2(void *handle, void *workspace, size_t size)
{
    return set_workspace(handle, workspace, size);
}

int cublasGemmEx(void *handle, int transa, int transb, int m, int n, int k, const void *alpha,
                 const void *A, int Atype, int lda, const void *B, int Btype, int ldb,
                 const void *beta, void *C, int Ctype, int ldc, int compute, int algorithm)
{
    return gemm(handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C,
                Ctype, ldc, compute, algorithm);
}

const char *cublasGetStatusString(int status)
{
    return status == 15 ? "what was asked for is not supported" : "an error";
}
