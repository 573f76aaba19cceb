// crc32c.h -- the CRC of Castagnoli's polynomial, as iSCSI (RFC 3720), SCTP and TFRecord use it.
// Layer: base.
//
// Threads: any thread.
#pragma once
#include <stddef.h>
#include <stdint.h>

uint32_t bm_crc32c(const void *data, size_t size);
uint32_t bm_crc32c_plain(const void *data, size_t size); // the same without the processor's help
