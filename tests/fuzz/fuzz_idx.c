// Any bytes as a file in the format of MNIST, or as one in gzip.
#include "fuzz/arrays.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_array("idx", true, data, size);
    return 0;
}
