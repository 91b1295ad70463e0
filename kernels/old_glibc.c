/* Part of the Python extension only. Since 2.34 glibc has a pthread_create of a new version, the same but for where it
 * is: a wheel that asks for the first one runs on older systems, too. The linker sends all calls here (--wrap). */
#include <pthread.h>

int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int first_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

#if defined(__GLIBC__) && defined(__x86_64__)
__asm__(".symver first_pthread_create, pthread_create@GLIBC_2.2.5");
#elif defined(__GLIBC__) && defined(__aarch64__)
__asm__(".symver first_pthread_create, pthread_create@GLIBC_2.17");
#else
#define first_pthread_create __real_pthread_create
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
#endif

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *data) {
  return first_pthread_create(thread, attributes, start, data);
}
