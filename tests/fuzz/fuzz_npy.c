// Any bytes as a file that numpy.save() wrote, or as one in gzip.
#include "fuzz/arrays.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_array("npy", false, data, size);
    return 0;
}
