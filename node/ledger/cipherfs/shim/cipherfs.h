// The C ABI between RocksDB's FileSystem (cipherfs.cc) and the sealed files behind it (src/ffi.rs).
//
// Rules, both ways:
//  - No panic and no C++ exception crosses it: Rust catches its panics, every C++ override catches its exceptions.
//  - Every fallible function returns a CipherfsCode. When it is not OK, `*error` holds a message that the caller frees with
//    cipherfs_buffer_free; when it is OK, `*error` is left untouched.
//  - Paths and names are bytes with a length, not NUL terminated. Handles are opaque and are freed exactly once by the
//    function named for it.
//  - An output is the last parameter but one and is written only on success.
//  - A writable or sequential handle is used by one thread at a time, except that cipherfs_writable_sync may run beside
//    append and flush; a random handle may be read by many threads at once.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// Outcome of a call; mirrored by `Code` in src/ffi.rs.
enum CipherfsCode : int32_t {
  CIPHERFS_OK = 0,
  CIPHERFS_NOT_FOUND = 1,
  CIPHERFS_IO_ERROR = 2,
  CIPHERFS_NO_SPACE = 3,
  CIPHERFS_NOT_SUPPORTED = 4,
  CIPHERFS_LOCKED = 5,
};

// Bytes owned by the Rust side until cipherfs_buffer_free.
struct CipherfsBuffer {
  uint8_t* data;
  size_t length;
};

// Memory of the caller to read, and to fill, during the call.
struct CipherfsBytes {
  const char* data;
  size_t length;
};
struct CipherfsScratch {
  char* data;
  size_t length;
};

struct CipherfsFs;
struct CipherfsWritable;
struct CipherfsSequential;
struct CipherfsRandom;
struct CipherfsLock;

void cipherfs_buffer_free(CipherfsBuffer buffer);
void cipherfs_log(int32_t level, CipherfsBytes text);
void cipherfs_fs_free(CipherfsFs* fs);

int32_t cipherfs_create(const CipherfsFs* fs, CipherfsBytes path, CipherfsWritable** file, CipherfsBuffer* error);
int32_t cipherfs_reopen(const CipherfsFs* fs, CipherfsBytes path, CipherfsWritable** file, CipherfsBuffer* error);
int32_t cipherfs_writable_append(CipherfsWritable* file, CipherfsBytes data, CipherfsBuffer* error);
int32_t cipherfs_writable_flush(CipherfsWritable* file, CipherfsBuffer* error);
int32_t cipherfs_writable_begin_write_back(CipherfsWritable* file, CipherfsBuffer* error);
int32_t cipherfs_writable_sync(CipherfsWritable* file, CipherfsBuffer* error);
int32_t cipherfs_writable_reserve(CipherfsWritable* file, uint64_t size, CipherfsBuffer* error);
int32_t cipherfs_writable_truncate(CipherfsWritable* file, uint64_t size, CipherfsBuffer* error);
int32_t cipherfs_writable_close(CipherfsWritable* file, CipherfsBuffer* error);
uint64_t cipherfs_writable_size(const CipherfsWritable* file);
void cipherfs_writable_free(CipherfsWritable* file);

int32_t cipherfs_open_sequential(const CipherfsFs* fs, CipherfsBytes path, CipherfsSequential** file,
                                 CipherfsBuffer* error);
int32_t cipherfs_sequential_read(CipherfsSequential* file, CipherfsScratch scratch, size_t* filled,
                                 CipherfsBuffer* error);
int32_t cipherfs_sequential_read_at(CipherfsSequential* file, uint64_t offset, CipherfsScratch scratch, size_t* filled,
                                    CipherfsBuffer* error);
int32_t cipherfs_sequential_skip(CipherfsSequential* file, uint64_t count, CipherfsBuffer* error);
void cipherfs_sequential_free(CipherfsSequential* file);

int32_t cipherfs_open_random(const CipherfsFs* fs, CipherfsBytes path, CipherfsRandom** file, CipherfsBuffer* error);
int32_t cipherfs_random_read(const CipherfsRandom* file, uint64_t offset, CipherfsScratch scratch, size_t* filled,
                             CipherfsBuffer* error);
uint64_t cipherfs_random_size(const CipherfsRandom* file);
void cipherfs_random_free(CipherfsRandom* file);

int32_t cipherfs_sync_dir(const CipherfsFs* fs, CipherfsBytes path, CipherfsBuffer* error);
int32_t cipherfs_sync_file(const CipherfsFs* fs, CipherfsBytes path, CipherfsBuffer* error);
int32_t cipherfs_exists(const CipherfsFs* fs, CipherfsBytes path, CipherfsBuffer* error);
// `*names`: each name followed by one NUL.
int32_t cipherfs_children(const CipherfsFs* fs, CipherfsBytes path, CipherfsBuffer* names, CipherfsBuffer* error);
int32_t cipherfs_delete(const CipherfsFs* fs, CipherfsBytes path, CipherfsBuffer* error);
int32_t cipherfs_create_dir(const CipherfsFs* fs, CipherfsBytes path, bool may_exist, CipherfsBuffer* error);
int32_t cipherfs_delete_dir(const CipherfsFs* fs, CipherfsBytes path, CipherfsBuffer* error);
int32_t cipherfs_file_size(const CipherfsFs* fs, CipherfsBytes path, uint64_t* size, CipherfsBuffer* error);
int32_t cipherfs_modified_s(const CipherfsFs* fs, CipherfsBytes path, uint64_t* seconds, CipherfsBuffer* error);
int32_t cipherfs_rename(const CipherfsFs* fs, CipherfsBytes from, CipherfsBytes to, CipherfsBuffer* error);
int32_t cipherfs_link(const CipherfsFs* fs, CipherfsBytes from, CipherfsBytes to, CipherfsBuffer* error);
int32_t cipherfs_link_count(const CipherfsFs* fs, CipherfsBytes path, uint64_t* count, CipherfsBuffer* error);
int32_t cipherfs_same_file(const CipherfsFs* fs, CipherfsBytes first, CipherfsBytes second, bool* same,
                           CipherfsBuffer* error);
int32_t cipherfs_is_dir(const CipherfsFs* fs, CipherfsBytes path, bool* is_dir, CipherfsBuffer* error);
int32_t cipherfs_free_bytes(const CipherfsFs* fs, CipherfsBytes path, uint64_t* bytes, CipherfsBuffer* error);
int32_t cipherfs_absolute_path(const CipherfsFs* fs, CipherfsBytes path, CipherfsBuffer* absolute, CipherfsBuffer* error);
int32_t cipherfs_test_dir(const CipherfsFs* fs, CipherfsBuffer* path, CipherfsBuffer* error);

int32_t cipherfs_lock(const CipherfsFs* fs, CipherfsBytes path, CipherfsLock** lock, CipherfsBuffer* error);
void cipherfs_unlock(CipherfsLock* lock);

// RocksDB's C API declares this type in db/c.cc only; the layout is the one of 11.8.1.
struct rocksdb_env_t;
// Takes ownership of `fs`, also when it fails. Null when memory is exhausted.
rocksdb_env_t* cipherfs_env_new(CipherfsFs* fs);

}  // extern "C"
