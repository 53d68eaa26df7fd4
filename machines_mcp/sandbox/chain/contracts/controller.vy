# pragma version 0.4.3
# The entry point of version 1: an admin of the collateral sends seven arguments that the executor has signed.

interface Collateral:
    def isAdmin(who: address) -> bool: view
    def withdrawAsset(asset: address, amount: uint256, recipient: address): nonpayable

event Withdrawal:
    collateral: indexed(address)
    asset: address
    amount: uint256

DOMAIN: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
)
# `uint`, not `uint256`: the original hashes this text, though the type's canonical name is longer.
WITHDRAW: constant(bytes32) = keccak256(
    "Withdraw(address user,address collateral,address asset,uint amount,address recipient,uint nonce,uint expiresAt)"
)

controllerAdmin: public(address)
owner: public(address)
nonce: public(HashMap[address, uint256])


@external
def initialize(executor: address, owner: address):
    assert self.owner == empty(address), "AlreadyInitialized"
    self.controllerAdmin = executor
    self.owner = owner


@external
def increaseNonce(collateral: address, by: uint256):
    # Voids the signatures that were made for lower nonces.
    assert msg.sender == self.owner, "Unauthorized"
    self.nonce[collateral] += by


@external
def withdrawAsset(
    collateral: address,
    asset: address,
    amount: uint256,
    recipient: address,
    expires_at: uint256,
    salt: bytes32,
    signature: Bytes[65],
):
    assert staticcall Collateral(collateral).isAdmin(msg.sender), "Unauthorized"
    assert block.timestamp < expires_at, "Expired signature"
    domain: bytes32 = keccak256(
        abi_encode(DOMAIN, keccak256("Rain Collateral"), keccak256("1"), chain.id, self, salt)
    )
    body: bytes32 = keccak256(
        abi_encode(WITHDRAW, msg.sender, collateral, asset, amount, recipient, self.nonce[collateral], expires_at)
    )
    signer: address = ecrecover(
        keccak256(concat(b"\x19\x01", domain, body)),
        convert(slice(signature, 64, 1), uint256),
        convert(slice(signature, 0, 32), uint256),
        convert(slice(signature, 32, 32), uint256),
    )
    assert signer == self.controllerAdmin, "Invalid signature"
    self.nonce[collateral] += 1
    extcall Collateral(collateral).withdrawAsset(asset, amount, recipient)
    log Withdrawal(collateral=collateral, asset=asset, amount=amount)
