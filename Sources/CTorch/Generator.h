#ifndef CTORCH_GENERATOR_H
#define CTORCH_GENERATOR_H

#include <ATen/core/Generator.h>

struct ct_generator {
  at::Generator generator;
};
#endif
