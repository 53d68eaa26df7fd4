# pragma version 0.4.3
# The entry point of version 2: an admin of the collateral sends what the executor has signed, and signatures of admins.

interface Collateral:
    def isAdmin(who: address) -> bool: view
    def adminNonce() -> uint256: view
    def withdrawSigned(
        user: address,
        asset: address,
        amount: uint256,
        recipient: address,
        salts: DynArray[bytes32, 4],
        signatures: DynArray[Bytes[65], 4],
    ): nonpayable

event Withdrawal:
    collateral: indexed(address)
    asset: indexed(address)
    recipient: indexed(address)
    amount: uint256

DOMAIN: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
)
WITHDRAW: constant(bytes32) = keccak256(
    "Withdraw(address user,address collateral,address asset,uint256 amount,address recipient,uint256 nonce,uint256 expiresAt)"
)

executor: public(address)
owner: public(address)


@external
def initialize(executor: address, owner: address):
    assert self.owner == empty(address), "AlreadyInitialized"
    self.executor = executor
    self.owner = owner


@external
def withdrawAsset(
    collateral: address,
    asset: address,
    amount: uint256,
    recipient: address,
    expires_at: uint256,
    executor_salt: bytes32,
    executor_signature: Bytes[65],
    admin_salts: DynArray[bytes32, 4],
    admin_signatures: DynArray[Bytes[65], 4],
    direct: bool,
):
    assert staticcall Collateral(collateral).isAdmin(msg.sender), "Unauthorized"
    assert block.timestamp < expires_at, "ExpiredSignature"
    assert direct, "NotDirect"
    domain: bytes32 = keccak256(
        abi_encode(DOMAIN, keccak256("Coordinator"), keccak256("2"), chain.id, self, executor_salt)
    )
    # The executor and the admins sign the same nonce, so a withdrawal voids both.
    nonce: uint256 = staticcall Collateral(collateral).adminNonce()
    body: bytes32 = keccak256(
        abi_encode(WITHDRAW, msg.sender, collateral, asset, amount, recipient, nonce, expires_at)
    )
    signer: address = ecrecover(
        keccak256(concat(b"\x19\x01", domain, body)),
        convert(slice(executor_signature, 64, 1), uint256),
        convert(slice(executor_signature, 0, 32), uint256),
        convert(slice(executor_signature, 32, 32), uint256),
    )
    assert signer == self.executor, "InvalidSignature"
    extcall Collateral(collateral).withdrawSigned(msg.sender, asset, amount, recipient, admin_salts, admin_signatures)
    log Withdrawal(collateral=collateral, asset=asset, recipient=recipient, amount=amount)
