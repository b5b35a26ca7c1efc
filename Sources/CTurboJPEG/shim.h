// TurboJPEG 2.x, the thread-safe C interface of libjpeg-turbo.
#pragma once
#include <turbojpeg.h>
