// RocksDB's EncryptedEnv with SM4 in counter mode: a peer to measure against, for no data that matters.
//
// RocksDB brings the environment, the file prefix and a CTR provider, but no cipher other than ROT13. Two forms of the peer:
// - kBlocks: RocksDB's own CTR provider over a BlockCipher, which it calls once for every 16 bytes;
// - kSpans: a provider whose stream takes whole spans, as databases that are served with this interface write their own.
// The cipher is the caller's, by function pointer.

#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "rocksdb/env.h"
#include "rocksdb/env_encryption.h"
#include "rocksdb/status.h"

// The layout of db/c.cc in 11.8.1.
struct rocksdb_env_t {
  rocksdb::Env* rep;
  bool is_default;
};

extern "C" {
// Encrypts 16 bytes in place.
typedef void (*CtrEncryptBlock)(const void* key, char* block);
// Adds the key stream of the file with this initial counter, from `offset` on.
typedef void (*CtrAddStream)(const void* key, const char* counter, uint64_t offset, char* data, size_t length);
}

namespace {

using namespace rocksdb;

constexpr size_t kBlockBytes = 16;
// RocksDB's own provider takes as much: tables stay aligned to pages.
constexpr size_t kPrefixBytes = 4096;

class Sm4Block final : public BlockCipher {
 public:
  Sm4Block(const void* key, CtrEncryptBlock encrypt) : key_(key), encrypt_(encrypt) {}
  const char* Name() const override { return "Sm4Block"; }
  size_t BlockSize() override { return kBlockBytes; }
  Status Encrypt(char* data) override {
    encrypt_(key_, data);
    return Status::OK();
  }
  // Counter mode never decrypts a block.
  Status Decrypt(char*) override { return Status::NotSupported("Decrypt"); }

 private:
  const void* const key_;
  const CtrEncryptBlock encrypt_;
};

class Sm4Stream final : public BlockAccessCipherStream {
 public:
  Sm4Stream(const void* key, CtrAddStream add, const char* counter) : key_(key), add_(add) {
    memcpy(counter_, counter, kBlockBytes);
  }
  size_t BlockSize() override { return kBlockBytes; }
  Status Encrypt(uint64_t offset, char* data, size_t length) override {
    add_(key_, counter_, offset, data, length);
    return Status::OK();
  }
  Status Decrypt(uint64_t offset, char* data, size_t length) override { return Encrypt(offset, data, length); }

 protected:
  void AllocateScratch(std::string&) override {}
  Status EncryptBlock(uint64_t, char*, char*) override { return Status::NotSupported("EncryptBlock"); }
  Status DecryptBlock(uint64_t, char*, char*) override { return Status::NotSupported("DecryptBlock"); }

 private:
  const void* const key_;
  const CtrAddStream add_;
  char counter_[kBlockBytes];
};

class Sm4Provider final : public EncryptionProvider {
 public:
  Sm4Provider(const void* key, CtrAddStream add) : key_(key), add_(add) {}
  const char* Name() const override { return "Sm4Provider"; }
  size_t GetPrefixLength() const override { return kPrefixBytes; }
  Status CreateNewPrefix(const std::string&, char* prefix, size_t length) const override {
    if (length < kBlockBytes) {
      return Status::InvalidArgument("no room for a counter");
    }
    memset(prefix, 0, length);
    std::random_device random;
    for (size_t i = 0; i < kBlockBytes; ++i) {
      prefix[i] = static_cast<char>(random());
    }
    return Status::OK();
  }
  Status AddCipher(const std::string&, const char*, size_t, bool) override { return Status::NotSupported("AddCipher"); }
  Status CreateCipherStream(const std::string& name, const EnvOptions&, Slice& prefix,
                            std::unique_ptr<BlockAccessCipherStream>* result) override {
    if (prefix.size() < kBlockBytes) {
      return Status::Corruption("no counter in", name);
    }
    result->reset(new Sm4Stream(key_, add_, prefix.data()));
    return Status::OK();
  }

 private:
  const void* const key_;
  const CtrAddStream add_;
};

}  // namespace

// `key` must live as long as the environment. Null when there is no memory.
extern "C" rocksdb_env_t* ctr_env_new(const void* key, bool spans, CtrEncryptBlock encrypt, CtrAddStream add) {
  try {
    std::shared_ptr<EncryptionProvider> provider;
    if (spans) {
      provider = std::make_shared<Sm4Provider>(key, add);
    } else {
      provider = EncryptionProvider::NewCTRProvider(std::make_shared<Sm4Block>(key, encrypt));
    }
    std::unique_ptr<Env> env(NewEncryptedEnv(Env::Default(), provider));
    rocksdb_env_t* wrapped = new rocksdb_env_t;
    wrapped->rep = env.release();
    wrapped->is_default = false;
    return wrapped;
  } catch (...) {
    return nullptr;
  }
}
