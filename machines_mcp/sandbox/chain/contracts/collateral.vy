# pragma version 0.4.3
# A user's collateral. Only its entry point, a controller (version 1) or a coordinator (version 2), takes money out.
# Version 2 also requires a signature of an admin, in a domain whose salt the admin chooses.

interface Token:
    def transfer(receiver: address, amount: uint256) -> bool: nonpayable

DOMAIN: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
)
WITHDRAW: constant(bytes32) = keccak256(
    "Withdraw(address user,address asset,uint256 amount,address recipient,uint256 nonce)"
)
# A signature has a twin with another `s`. Only the lower one counts, as in most libraries.
HIGHEST_S: constant(bytes32) = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0

entryPoint: public(address)
owner: public(address)
adminThreshold: public(uint256)
adminNonce: public(uint256)
isAdmin: public(HashMap[address, bool])


@external
def initialize(entry_point: address, owner: address, threshold: uint256):
    assert self.owner == empty(address), "AlreadyInitialized"
    self.entryPoint = entry_point
    self.owner = owner
    self.adminThreshold = threshold


@external
def addAdmin(admin: address):
    assert msg.sender == self.owner, "Unauthorized"
    self.isAdmin[admin] = True


@external
def increaseNonce(by: uint256):
    # Voids the signatures that were made for lower nonces.
    assert msg.sender == self.owner, "Unauthorized"
    self.adminNonce += by


@external
def withdrawAsset(asset: address, amount: uint256, recipient: address):
    assert msg.sender == self.entryPoint, "Unauthorized"
    extcall Token(asset).transfer(recipient, amount)


@external
def withdrawSigned(
    user: address,
    asset: address,
    amount: uint256,
    recipient: address,
    salts: DynArray[bytes32, 4],
    signatures: DynArray[Bytes[65], 4],
):
    assert msg.sender == self.entryPoint, "Unauthorized"
    assert len(salts) == len(signatures), "InconsistentInputLength"
    assert len(signatures) >= self.adminThreshold, "UnderAdminThreshold"
    body: bytes32 = keccak256(abi_encode(WITHDRAW, user, asset, amount, recipient, self.adminNonce))
    seen: DynArray[address, 4] = []
    for i: uint256 in range(len(signatures), bound=4):
        domain: bytes32 = keccak256(
            abi_encode(DOMAIN, keccak256("Collateral"), keccak256("2"), chain.id, self, salts[i])
        )
        signer: address = self._signer(keccak256(concat(b"\x19\x01", domain, body)), signatures[i])
        assert self.isAdmin[signer], "InvalidSignature"
        assert signer not in seen, "DuplicateSigner"
        seen.append(signer)
    self.adminNonce += 1
    extcall Token(asset).transfer(recipient, amount)


@internal
@pure
def _signer(digest: bytes32, signature: Bytes[65]) -> address:
    s: uint256 = convert(slice(signature, 32, 32), uint256)
    assert s <= convert(HIGHEST_S, uint256), "InvalidSignature"
    # The zero address, for a signature of nobody, is no admin.
    return ecrecover(
        digest, convert(slice(signature, 64, 1), uint256), convert(slice(signature, 0, 32), uint256), s
    )
