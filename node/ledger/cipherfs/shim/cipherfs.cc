// RocksDB's FileSystem over sealed files.
//
// Every class derives from RocksDB's abstract class, never from a wrapper: an operation this file does not know is refused
// (NotSupported), it is not forwarded to the plain file system. All work is done behind the C ABI of cipherfs.h.
// Anything that fails to authenticate is an IOError: RocksDB swallows Corruption at the end of a log and drops what follows.

#include "cipherfs.h"

#include <cstdarg>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rocksdb/env.h"
#include "rocksdb/file_system.h"
#include "rocksdb/io_status.h"

// The layout of db/c.cc in 11.8.1; tests/env_layout.rs compares it with that source.
struct rocksdb_env_t {
  rocksdb::Env* rep;
  bool is_default;
};

namespace {

using namespace rocksdb;

// Frees what the other side allocated.
class Buffer {
 public:
  Buffer() : raw_{nullptr, 0} {}
  ~Buffer() {
    if (raw_.data != nullptr) {
      cipherfs_buffer_free(raw_);
    }
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  CipherfsBuffer* out() { return &raw_; }
  std::string str() const { return std::string(reinterpret_cast<const char*>(raw_.data), raw_.length); }
  Slice slice() const { return Slice(reinterpret_cast<const char*>(raw_.data), raw_.length); }

 private:
  CipherfsBuffer raw_;
};

// What "no such file" means to the caller: RocksDB asks for NotFound from queries and for IOError/PathNotFound elsewhere.
enum class Missing { kNotFound, kPathNotFound };

IOStatus ToStatus(int32_t code, const Buffer& error, Missing missing = Missing::kPathNotFound) {
  switch (code) {
    case CIPHERFS_OK:
      return IOStatus::OK();
    case CIPHERFS_NOT_FOUND:
      return missing == Missing::kNotFound ? IOStatus::NotFound(error.slice()) : IOStatus::PathNotFound(error.slice());
    case CIPHERFS_NO_SPACE:
      return IOStatus::NoSpace(error.slice());
    case CIPHERFS_NOT_SUPPORTED:
      return IOStatus::NotSupported(error.slice());
    default:
      return IOStatus::IOError(error.slice());
  }
}

// Runs an override's body; no exception (only allocation can throw here) reaches RocksDB.
template <typename Body>
IOStatus Guarded(Body&& body) noexcept {
  try {
    return body();
  } catch (...) {
    return IOStatus::IOError(IOStatus::kMemoryLimit);
  }
}

CipherfsBytes Bytes(const Slice& slice) { return CipherfsBytes{slice.data(), slice.size()}; }

// Calls a function of the ABI. Outputs keep their values when it fails.
template <typename Function, typename... Arguments>
IOStatus CallOr(Missing missing, Function function, Arguments... arguments) noexcept {
  return Guarded([&] {
    Buffer error;
    return ToStatus(function(arguments..., error.out()), error, missing);
  });
}

template <typename Function, typename... Arguments>
IOStatus Call(Function function, Arguments... arguments) noexcept {
  return CallOr(Missing::kPathNotFound, function, arguments...);
}

template <typename Function, typename... Arguments>
IOStatus Query(Function function, Arguments... arguments) noexcept {
  return CallOr(Missing::kNotFound, function, arguments...);
}

// Calls an opening function and gives its handle to a file object; without memory for one the handle is freed.
template <typename File, typename Base, typename Handle, typename... Options>
IOStatus Open(int32_t (*function)(const CipherfsFs*, CipherfsBytes, Handle**, CipherfsBuffer*), void (*free)(Handle*),
              const CipherfsFs* fs, const std::string& path, std::unique_ptr<Base>* result,
              const Options&... options) noexcept {
  return Guarded([&] {
    result->reset();
    Handle* handle = nullptr;
    IOStatus status = Call(function, fs, Bytes(path), &handle);
    std::unique_ptr<Handle, void (*)(Handle*)> owned(handle, free);
    if (status.ok()) {
      result->reset(new File(handle, options...));
      owned.release();
    }
    return status;
  });
}

class SealedWritableFile final : public FSWritableFile {
 public:
  SealedWritableFile(CipherfsWritable* file, const FileOptions& options) : FSWritableFile(options), file_(file) {}
  ~SealedWritableFile() override { cipherfs_writable_free(file_); }

  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_writable_append, file_, Bytes(data));
  }
  // The handed-over CRC32C is weaker than the tag every frame and page gets.
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo&,
                  IODebugContext* dbg) override {
    return Append(data, options, dbg);
  }
  // Only asked for with direct I/O, which sealed files do not do.
  IOStatus PositionedAppend(const Slice&, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("sealed files are append-only");
  }
  IOStatus PositionedAppend(const Slice&, uint64_t, const IOOptions&, const DataVerificationInfo&,
                            IODebugContext*) override {
    return IOStatus::NotSupported("sealed files are append-only");
  }
  IOStatus Truncate(uint64_t size, const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_writable_truncate, file_, size);
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_writable_close, file_);
  }
  IOStatus Flush(const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_writable_flush, file_);
  }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_writable_sync, file_);
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override { return Sync(options, dbg); }
  bool IsSyncThreadSafe() const override { return true; }
  bool use_direct_io() const override { return false; }
  size_t GetRequiredBufferAlignment() const override { return 1; }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return cipherfs_writable_size(file_); }
  size_t GetUniqueId(char*, size_t) const override { return 0; }
  // Hints about the page cache: nothing is kept between the buffer and write(), so there is nothing to do.
  IOStatus InvalidateCache(size_t, size_t) override { return IOStatus::OK(); }
  // Never a sync: that seals a table's last page. Nothing is made durable by it, with strict_bytes_per_sync neither.
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_writable_begin_write_back, file_);
  }
  // The base class counts preallocation blocks and calls Allocate. Its failure is ignored: a write without room says so itself.
  void PrepareWrite(size_t offset, size_t length, const IOOptions& options, IODebugContext* dbg) override {
    FSWritableFile::PrepareWrite(offset, length, options, dbg);
  }
  // The length stays: a sealed file ends where its last frame ends, and nothing reads past it.
  IOStatus Allocate(uint64_t offset, uint64_t length, const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_writable_reserve, file_, offset + length);
  }

 private:
  CipherfsWritable* const file_;
};

class SealedSequentialFile final : public FSSequentialFile {
 public:
  explicit SealedSequentialFile(CipherfsSequential* file) : file_(file) {}
  ~SealedSequentialFile() override { cipherfs_sequential_free(file_); }

  IOStatus Read(size_t n, const IOOptions&, Slice* result, char* scratch, IODebugContext*) override {
    size_t filled = 0;
    IOStatus status = Call(cipherfs_sequential_read, file_, CipherfsScratch{scratch, n}, &filled);
    *result = Slice(scratch, filled);
    return status;
  }
  IOStatus Skip(uint64_t n) override {
    return Call(cipherfs_sequential_skip, file_, n);
  }
  bool use_direct_io() const override { return false; }
  size_t GetRequiredBufferAlignment() const override { return 1; }
  IOStatus InvalidateCache(size_t, size_t) override { return IOStatus::OK(); }
  IOStatus PositionedRead(uint64_t offset, size_t n, const IOOptions&, Slice* result, char* scratch,
                          IODebugContext*) override {
    size_t filled = 0;
    IOStatus status = Call(cipherfs_sequential_read_at, file_, offset, CipherfsScratch{scratch, n}, &filled);
    *result = Slice(scratch, filled);
    return status;
  }
  Temperature GetTemperature() const override { return Temperature::kUnknown; }

 private:
  CipherfsSequential* const file_;
};

class SealedRandomAccessFile final : public FSRandomAccessFile {
 public:
  explicit SealedRandomAccessFile(CipherfsRandom* file) : file_(file) {}
  ~SealedRandomAccessFile() override { cipherfs_random_free(file_); }

  IOStatus Read(uint64_t offset, size_t n, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) const override {
    size_t filled = 0;
    IOStatus status = Call(cipherfs_random_read, file_, offset, CipherfsScratch{scratch, n}, &filled);
    *result = Slice(scratch, filled);
    return status;
  }
  // NotSupported makes RocksDB read ahead into its own buffer, so that many pages are opened by one call.
  IOStatus Prefetch(uint64_t, size_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("Prefetch");
  }
  IOStatus MultiRead(FSReadRequest* reqs, size_t num_reqs, const IOOptions& options, IODebugContext* dbg) override {
    for (size_t i = 0; i < num_reqs; ++i) {
      reqs[i].status = Read(reqs[i].offset, reqs[i].len, options, &reqs[i].result, reqs[i].scratch, dbg);
    }
    return IOStatus::OK();
  }
  size_t GetUniqueId(char*, size_t) const override { return 0; }
  void Hint(AccessPattern) override {}
  bool use_direct_io() const override { return false; }
  size_t GetRequiredBufferAlignment() const override { return 1; }
  IOStatus InvalidateCache(size_t, size_t) override { return IOStatus::OK(); }
  IOStatus ReadAsync(FSReadRequest& req, const IOOptions& options, std::function<void(FSReadRequest&, void*)> done,
                     void* done_arg, void**, IOHandleDeleter*, IODebugContext* dbg) override {
    req.status = Read(req.offset, req.len, options, &req.result, req.scratch, dbg);
    done(req, done_arg);
    return IOStatus::OK();
  }
  bool SubmitReadAsync(FSReadRequest& req, const IOOptions& options, std::function<void(FSReadRequest&)> done,
                       IODebugContext* dbg) override {
    req.status = Read(req.offset, req.len, options, &req.result, req.scratch, dbg);
    done(req);
    return false;
  }
  Temperature GetTemperature() const override { return Temperature::kUnknown; }
  IOStatus GetFileSize(uint64_t* size) override {
    *size = cipherfs_random_size(file_);
    return IOStatus::OK();
  }
  IOStatus GetFileOpenMetadata(std::string*) override { return IOStatus::NotSupported("GetFileOpenMetadata"); }

 private:
  CipherfsRandom* const file_;
};

class SealedDirectory final : public FSDirectory {
 public:
  SealedDirectory(const CipherfsFs* fs, std::string path) : fs_(fs), path_(std::move(path)) {}

  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_sync_dir, fs_, Bytes(path_));
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* dbg, const DirFsyncOptions&) override {
    return Fsync(options, dbg);
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  size_t GetUniqueId(char*, size_t) const override { return 0; }

 private:
  const CipherfsFs* const fs_;
  const std::string path_;
};

class SealedLock final : public FileLock {
 public:
  explicit SealedLock(CipherfsLock* lock) : lock_(lock) {}
  ~SealedLock() override { cipherfs_unlock(lock_); }

 private:
  CipherfsLock* const lock_;
};

// RocksDB's info log goes to the node's log: a LOG file in the directory would be plaintext with key ranges in it.
class ForwardingLogger final : public Logger {
 public:
  void LogHeader(const char* format, va_list ap) override { Logv(InfoLogLevel::HEADER_LEVEL, format, ap); }
  void Logv(const char* format, va_list ap) override { Logv(InfoLogLevel::INFO_LEVEL, format, ap); }
  void Logv(const InfoLogLevel level, const char* format, va_list ap) override {
    if (level < GetInfoLogLevel()) {
      return;
    }
    char text[1024];
    const int length = vsnprintf(text, sizeof(text), format, ap);
    if (length > 0) {
      const size_t used = static_cast<size_t>(length);
      cipherfs_log(static_cast<int32_t>(level), CipherfsBytes{text, used < sizeof(text) ? used : sizeof(text) - 1});
    }
  }

 protected:
  Status CloseImpl() override { return Status::OK(); }
};

class SealedFileSystem final : public FileSystem {
 public:
  explicit SealedFileSystem(CipherfsFs* fs) : fs_(fs) {}
  ~SealedFileSystem() override { cipherfs_fs_free(fs_); }

  const char* Name() const override { return "BixiSealedFileSystem"; }

  IOStatus NewSequentialFile(const std::string& path, const FileOptions&, std::unique_ptr<FSSequentialFile>* result,
                             IODebugContext*) override {
    return Open<SealedSequentialFile>(cipherfs_open_sequential, cipherfs_sequential_free, fs_, path, result);
  }
  IOStatus NewRandomAccessFile(const std::string& path, const FileOptions&,
                               std::unique_ptr<FSRandomAccessFile>* result, IODebugContext*) override {
    return Open<SealedRandomAccessFile>(cipherfs_open_random, cipherfs_random_free, fs_, path, result);
  }
  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* result, IODebugContext*) override {
    return Open<SealedWritableFile>(cipherfs_create, cipherfs_writable_free, fs_, path, result, options);
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* result, IODebugContext*) override {
    return Open<SealedWritableFile>(cipherfs_reopen, cipherfs_writable_free, fs_, path, result, options);
  }
  // Recycling a log would write new records over old ones under one key.
  IOStatus ReuseWritableFile(const std::string&, const std::string&, const FileOptions&,
                             std::unique_ptr<FSWritableFile>* result, IODebugContext*) override {
    result->reset();
    return IOStatus::NotSupported("sealed logs are never recycled (recycle_log_file_num must be 0)");
  }
  IOStatus NewRandomRWFile(const std::string&, const FileOptions&, std::unique_ptr<FSRandomRWFile>* result,
                           IODebugContext*) override {
    result->reset();
    return IOStatus::NotSupported("sealed files are append-only");
  }
  IOStatus NewMemoryMappedFileBuffer(const std::string&, std::unique_ptr<MemoryMappedFileBuffer>* result) override {
    result->reset();
    return IOStatus::NotSupported("sealed files cannot be mapped");
  }

  IOStatus NewDirectory(const std::string& path, const IOOptions&, std::unique_ptr<FSDirectory>* result,
                        IODebugContext*) override {
    return Guarded([&] {
      result->reset();
      bool is_dir = false;
      IOStatus status = Call(cipherfs_is_dir, fs_, Bytes(path), &is_dir);
      if (status.ok() && !is_dir) {
        return IOStatus::IOError("not a directory: " + path);
      }
      if (status.ok()) {
        result->reset(new SealedDirectory(fs_, path));
      }
      return status;
    });
  }

  IOStatus FileExists(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Query(cipherfs_exists, fs_, Bytes(path));
  }

  IOStatus GetChildren(const std::string& path, const IOOptions&, std::vector<std::string>* result,
                       IODebugContext*) override {
    return Guarded([&] {
      result->clear();
      Buffer names;
      IOStatus status = Query(cipherfs_children, fs_, Bytes(path), names.out());
      const Slice all = names.slice();
      size_t start = 0;
      for (size_t i = 0; i < all.size(); ++i) {
        if (all[i] == '\0') {
          result->emplace_back(all.data() + start, i - start);
          start = i + 1;
        }
      }
      return status;
    });
  }

  IOStatus GetChildrenFileAttributes(const std::string& path, const IOOptions& options,
                                     std::vector<FileAttributes>* result, IODebugContext* dbg) override {
    return Guarded([&] {
      result->clear();
      std::vector<std::string> names;
      IOStatus status = GetChildren(path, options, &names, dbg);
      for (auto& name : names) {
        FileAttributes attributes;
        IOStatus sized = GetFileSize(path + "/" + name, options, &attributes.size_bytes, dbg);
        if (sized.IsPathNotFound()) {
          continue;  // deleted since it was listed
        }
        if (!sized.ok()) {
          return sized;
        }
        attributes.name = std::move(name);
        result->push_back(std::move(attributes));
      }
      return status;
    });
  }

  IOStatus DeleteFile(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_delete, fs_, Bytes(path));
  }
  // Cutting a closed file would cut authenticated bytes.
  IOStatus Truncate(const std::string&, size_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("sealed files are append-only");
  }
  IOStatus CreateDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_create_dir, fs_, Bytes(path), false);
  }
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_create_dir, fs_, Bytes(path), true);
  }
  IOStatus DeleteDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_delete_dir, fs_, Bytes(path));
  }
  IOStatus GetFileSize(const std::string& path, const IOOptions&, uint64_t* size, IODebugContext*) override {
    *size = 0;
    return Call(cipherfs_file_size, fs_, Bytes(path), size);
  }
  IOStatus GetFileModificationTime(const std::string& path, const IOOptions&, uint64_t* seconds,
                                   IODebugContext*) override {
    *seconds = 0;
    return Call(cipherfs_modified_s, fs_, Bytes(path), seconds);
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_rename, fs_, Bytes(from), Bytes(to));
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions&, IODebugContext*) override {
    return Call(cipherfs_link, fs_, Bytes(from), Bytes(to));
  }
  IOStatus SyncFile(const std::string& path, const FileOptions&, const IOOptions&, bool, IODebugContext*) override {
    return Call(cipherfs_sync_file, fs_, Bytes(path));
  }
  IOStatus NumFileLinks(const std::string& path, const IOOptions&, uint64_t* count, IODebugContext*) override {
    return Call(cipherfs_link_count, fs_, Bytes(path), count);
  }
  IOStatus AreFilesSame(const std::string& first, const std::string& second, const IOOptions&, bool* same,
                        IODebugContext*) override {
    return Call(cipherfs_same_file, fs_, Bytes(first), Bytes(second), same);
  }

  IOStatus LockFile(const std::string& path, const IOOptions&, FileLock** result, IODebugContext*) override {
    return Guarded([&] {
      *result = nullptr;
      CipherfsLock* lock = nullptr;
      IOStatus status = Call(cipherfs_lock, fs_, Bytes(path), &lock);
      std::unique_ptr<CipherfsLock, void (*)(CipherfsLock*)> owned(lock, cipherfs_unlock);
      if (status.ok()) {
        *result = new SealedLock(lock);
        owned.release();
      }
      return status;
    });
  }
  IOStatus UnlockFile(FileLock* lock, const IOOptions&, IODebugContext*) override {
    delete lock;
    return IOStatus::OK();
  }

  IOStatus GetTestDirectory(const IOOptions&, std::string* path, IODebugContext*) override {
    return Guarded([&] {
      Buffer chosen;
      IOStatus status = Call(cipherfs_test_dir, fs_, chosen.out());
      *path = chosen.str();
      return status;
    });
  }
  IOStatus NewLogger(const std::string&, const IOOptions&, std::shared_ptr<Logger>* result, IODebugContext*) override {
    return Guarded([&] {
      result->reset(new ForwardingLogger());
      return IOStatus::OK();
    });
  }
  IOStatus GetAbsolutePath(const std::string& path, const IOOptions&, std::string* absolute,
                           IODebugContext*) override {
    return Guarded([&] {
      Buffer resolved;
      IOStatus status = Call(cipherfs_absolute_path, fs_, Bytes(path), resolved.out());
      *absolute = resolved.str();
      return status;
    });
  }
  IOStatus GetFreeSpace(const std::string& path, const IOOptions&, uint64_t* bytes, IODebugContext*) override {
    return Call(cipherfs_free_bytes, fs_, Bytes(path), bytes);
  }
  IOStatus IsDirectory(const std::string& path, const IOOptions&, bool* is_dir, IODebugContext*) override {
    return Query(cipherfs_is_dir, fs_, Bytes(path), is_dir);
  }

  Status RegisterDbPaths(const std::vector<std::string>&) override { return Status::OK(); }
  Status UnregisterDbPaths(const std::vector<std::string>&) override { return Status::OK(); }
  folly::IOExecutor* GetReadExecutor() override { return nullptr; }
  void SetReadIOExecutorThreads(int) override {}
  // Reads complete before they return, so there is never anything to wait for or to abort.
  IOStatus Poll(std::vector<void*>&, size_t) override { return IOStatus::OK(); }
  IOStatus AbortIO(std::vector<void*>&) override { return IOStatus::OK(); }
  void DiscardCacheForDirectory(const std::string&) override {}
  void SupportedOps(int64_t& supported_ops) override { supported_ops = 0; }

  // Whatever the options ask for, sealed files are neither mapped nor read around the codec.
  void SanitizeFileOptions(FileOptions* options) const override {
    options->use_mmap_reads = false;
    options->use_mmap_writes = false;
    options->use_direct_reads = false;
    options->use_direct_writes = false;
  }
  FileOptions OptimizeForLogRead(const FileOptions& options) const override { return Buffered(options); }
  FileOptions OptimizeForManifestRead(const FileOptions& options) const override { return Buffered(options); }
  FileOptions OptimizeForLogWrite(const FileOptions& options, const DBOptions& db_options) const override {
    FileOptions buffered = Buffered(options);
    buffered.bytes_per_sync = db_options.wal_bytes_per_sync;
    buffered.writable_file_max_buffer_size = db_options.writable_file_max_buffer_size;
    return buffered;
  }
  FileOptions OptimizeForManifestWrite(const FileOptions& options) const override { return Buffered(options); }
  FileOptions OptimizeForCompactionTableWrite(const FileOptions& options, const ImmutableDBOptions&) const override {
    return Buffered(options);
  }
  FileOptions OptimizeForCompactionTableRead(const FileOptions& options, const ImmutableDBOptions&) const override {
    return Buffered(options);
  }
  FileOptions OptimizeForBlobFileRead(const FileOptions& options, const ImmutableDBOptions&) const override {
    return Buffered(options);
  }

 private:
  FileOptions Buffered(const FileOptions& options) const {
    FileOptions buffered(options);
    SanitizeFileOptions(&buffered);
    return buffered;
  }

  CipherfsFs* const fs_;
};

}  // namespace

extern "C" rocksdb_env_t* cipherfs_env_new(CipherfsFs* fs) {
  std::shared_ptr<rocksdb::FileSystem> file_system;
  try {
    file_system.reset(new SealedFileSystem(fs));
  } catch (...) {
    cipherfs_fs_free(fs);
    return nullptr;
  }
  try {
    std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(file_system);
    rocksdb_env_t* wrapped = new rocksdb_env_t;
    wrapped->rep = env.release();
    wrapped->is_default = false;
    return wrapped;
  } catch (...) {
    return nullptr;  // `file_system` frees `fs`
  }
}
