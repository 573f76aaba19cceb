// certificates DIRECTORY -- makes the tests' certificates there, for those that are no C.
#include <stdio.h>

#include "fakes/certificates.h"

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: certificates DIRECTORY\n");
        return 2;
    }
    certificates_make(argv[1]);
    return 0;
}
