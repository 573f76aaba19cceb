// exif.h -- the one thing of EXIF that changes how a picture is seen. Layer: image (may include
// base).
// Threads: any thread.
#pragma once
#include <stddef.h>

// The orientation, 1 to 8, in a block of EXIF (from its "II" or "MM" on); 1 where there is none or
// the block makes no sense: cameras and editors write many that do not.
unsigned bm_exif_orientation(const unsigned char *block, size_t size);

// The block of EXIF in a JPEG file, between its head and its first scan; NULL where there is none.
const unsigned char *bm_exif_in_jpeg(const unsigned char *data, size_t size, size_t *ret_size);
