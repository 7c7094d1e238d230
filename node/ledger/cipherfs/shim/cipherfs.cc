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

class SealedWritableFile final : public FSWritableFile {
 public:
  SealedWritableFile(CipherfsWritable* file, const FileOptions& options) : FSWritableFile(options), file_(file) {}
  ~SealedWritableFile() override { cipherfs_writable_free(file_); }

  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_writable_append(file_, data.data(), data.size(), error.out()), error);
    });
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
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_writable_truncate(file_, size, error.out()), error);
    });
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_writable_close(file_, error.out()), error);
    });
  }
  IOStatus Flush(const IOOptions&, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_writable_flush(file_, error.out()), error);
    });
  }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_writable_sync(file_, error.out()), error);
    });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override { return Sync(options, dbg); }
  bool IsSyncThreadSafe() const override { return true; }
  bool use_direct_io() const override { return false; }
  size_t GetRequiredBufferAlignment() const override { return 1; }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return cipherfs_writable_size(file_); }
  size_t GetUniqueId(char*, size_t) const override { return 0; }
  // Hints about the page cache: nothing is kept between the buffer and write(), so there is nothing to do.
  IOStatus InvalidateCache(size_t, size_t) override { return IOStatus::OK(); }
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions& options, IODebugContext* dbg) override {
    return strict_bytes_per_sync_ ? Sync(options, dbg) : IOStatus::OK();
  }
  // Preallocated space would be unauthenticated bytes past the end; a sealed file ends where its last frame or page ends.
  void PrepareWrite(size_t, size_t, const IOOptions&, IODebugContext*) override {}
  IOStatus Allocate(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  CipherfsWritable* const file_;
};

class SealedSequentialFile final : public FSSequentialFile {
 public:
  explicit SealedSequentialFile(CipherfsSequential* file) : file_(file) {}
  ~SealedSequentialFile() override { cipherfs_sequential_free(file_); }

  IOStatus Read(size_t n, const IOOptions&, Slice* result, char* scratch, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      size_t filled = 0;
      IOStatus status = ToStatus(cipherfs_sequential_read(file_, scratch, n, &filled, error.out()), error);
      *result = Slice(scratch, status.ok() ? filled : 0);
      return status;
    });
  }
  IOStatus Skip(uint64_t n) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_sequential_skip(file_, n, error.out()), error);
    });
  }
  bool use_direct_io() const override { return false; }
  size_t GetRequiredBufferAlignment() const override { return 1; }
  IOStatus InvalidateCache(size_t, size_t) override { return IOStatus::OK(); }
  IOStatus PositionedRead(uint64_t offset, size_t n, const IOOptions&, Slice* result, char* scratch,
                          IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      size_t filled = 0;
      IOStatus status = ToStatus(cipherfs_sequential_read_at(file_, offset, scratch, n, &filled, error.out()), error);
      *result = Slice(scratch, status.ok() ? filled : 0);
      return status;
    });
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
    return Guarded([&] {
      Buffer error;
      size_t filled = 0;
      IOStatus status = ToStatus(cipherfs_random_read(file_, offset, scratch, n, &filled, error.out()), error);
      *result = Slice(scratch, status.ok() ? filled : 0);
      return status;
    });
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
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_sync_dir(fs_, path_.data(), path_.size(), error.out()), error);
    });
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
      cipherfs_log(static_cast<int32_t>(level), text, used < sizeof(text) ? used : sizeof(text) - 1);
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
    return Guarded([&] {
      result->reset();
      Buffer error;
      CipherfsSequential* file = nullptr;
      IOStatus status = ToStatus(cipherfs_open_sequential(fs_, path.data(), path.size(), &file, error.out()), error);
      if (status.ok()) {
        result->reset(new SealedSequentialFile(file));
      }
      return status;
    });
  }

  IOStatus NewRandomAccessFile(const std::string& path, const FileOptions&,
                               std::unique_ptr<FSRandomAccessFile>* result, IODebugContext*) override {
    return Guarded([&] {
      result->reset();
      Buffer error;
      CipherfsRandom* file = nullptr;
      IOStatus status = ToStatus(cipherfs_open_random(fs_, path.data(), path.size(), &file, error.out()), error);
      if (status.ok()) {
        result->reset(new SealedRandomAccessFile(file));
      }
      return status;
    });
  }

  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* result, IODebugContext*) override {
    return OpenWritable(path, options, false, result);
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* result, IODebugContext*) override {
    return OpenWritable(path, options, true, result);
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
      Buffer error;
      bool is_dir = false;
      IOStatus status = ToStatus(cipherfs_is_dir(fs_, path.data(), path.size(), &is_dir, error.out()), error);
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
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_exists(fs_, path.data(), path.size(), error.out()), error, Missing::kNotFound);
    });
  }

  IOStatus GetChildren(const std::string& path, const IOOptions&, std::vector<std::string>* result,
                       IODebugContext*) override {
    return Guarded([&] {
      result->clear();
      Buffer error;
      Buffer names;
      const int32_t code = cipherfs_children(fs_, path.data(), path.size(), names.out(), error.out());
      IOStatus status = ToStatus(code, error, Missing::kNotFound);
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
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_delete(fs_, path.data(), path.size(), error.out()), error);
    });
  }
  // Cutting a closed file would cut authenticated bytes.
  IOStatus Truncate(const std::string&, size_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("sealed files are append-only");
  }
  IOStatus CreateDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_create_dir(fs_, path.data(), path.size(), false, error.out()), error);
    });
  }
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_create_dir(fs_, path.data(), path.size(), true, error.out()), error);
    });
  }
  IOStatus DeleteDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_delete_dir(fs_, path.data(), path.size(), error.out()), error);
    });
  }
  IOStatus GetFileSize(const std::string& path, const IOOptions&, uint64_t* size, IODebugContext*) override {
    return Guarded([&] {
      *size = 0;
      Buffer error;
      return ToStatus(cipherfs_file_size(fs_, path.data(), path.size(), size, error.out()), error);
    });
  }
  IOStatus GetFileModificationTime(const std::string& path, const IOOptions&, uint64_t* seconds,
                                   IODebugContext*) override {
    return Guarded([&] {
      *seconds = 0;
      Buffer error;
      return ToStatus(cipherfs_modified_s(fs_, path.data(), path.size(), seconds, error.out()), error);
    });
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions&, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_rename(fs_, from.data(), from.size(), to.data(), to.size(), error.out()), error);
    });
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions&, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_link(fs_, from.data(), from.size(), to.data(), to.size(), error.out()), error);
    });
  }
  IOStatus SyncFile(const std::string& path, const FileOptions&, const IOOptions&, bool, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_sync_file(fs_, path.data(), path.size(), error.out()), error);
    });
  }
  IOStatus NumFileLinks(const std::string& path, const IOOptions&, uint64_t* count, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_link_count(fs_, path.data(), path.size(), count, error.out()), error);
    });
  }
  IOStatus AreFilesSame(const std::string& first, const std::string& second, const IOOptions&, bool* same,
                        IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      const int32_t code =
          cipherfs_same_file(fs_, first.data(), first.size(), second.data(), second.size(), same, error.out());
      return ToStatus(code, error);
    });
  }

  IOStatus LockFile(const std::string& path, const IOOptions&, FileLock** result, IODebugContext*) override {
    return Guarded([&] {
      *result = nullptr;
      Buffer error;
      CipherfsLock* lock = nullptr;
      IOStatus status = ToStatus(cipherfs_lock(fs_, path.data(), path.size(), &lock, error.out()), error);
      if (status.ok()) {
        *result = new SealedLock(lock);
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
      Buffer error;
      Buffer chosen;
      IOStatus status = ToStatus(cipherfs_test_dir(fs_, chosen.out(), error.out()), error);
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
      Buffer error;
      Buffer resolved;
      const int32_t code = cipherfs_absolute_path(fs_, path.data(), path.size(), resolved.out(), error.out());
      *absolute = resolved.str();
      return ToStatus(code, error);
    });
  }
  IOStatus GetFreeSpace(const std::string& path, const IOOptions&, uint64_t* bytes, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_free_bytes(fs_, path.data(), path.size(), bytes, error.out()), error);
    });
  }
  IOStatus IsDirectory(const std::string& path, const IOOptions&, bool* is_dir, IODebugContext*) override {
    return Guarded([&] {
      Buffer error;
      return ToStatus(cipherfs_is_dir(fs_, path.data(), path.size(), is_dir, error.out()), error, Missing::kNotFound);
    });
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

  IOStatus OpenWritable(const std::string& path, const FileOptions& options, bool reopen,
                        std::unique_ptr<FSWritableFile>* result) {
    return Guarded([&] {
      result->reset();
      Buffer error;
      CipherfsWritable* file = nullptr;
      IOStatus status =
          ToStatus(cipherfs_open_writable(fs_, path.data(), path.size(), reopen, &file, error.out()), error);
      if (status.ok()) {
        result->reset(new SealedWritableFile(file, options));
      }
      return status;
    });
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
