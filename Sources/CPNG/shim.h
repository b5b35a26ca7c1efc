// libpng 1.6. Only the simplified interface (png_image_*) is used from Swift: it keeps its setjmp inside the library.
#pragma once
#include <png.h>

enum {
  CPNG_FORMAT_RGB = PNG_FORMAT_RGB,
  CPNG_FORMAT_RGBA = PNG_FORMAT_RGBA,
  CPNG_IMAGE_VERSION = PNG_IMAGE_VERSION,
  CPNG_FLAG_16BIT_SRGB = PNG_IMAGE_FLAG_16BIT_sRGB
};
