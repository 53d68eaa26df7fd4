// A wallet that knows nothing of this project:
//   node wallet.mjs viem|ethers sign FILE KEY        signs FILE, as eth_signTypedData_v4 takes it
//   node wallet.mjs viem|ethers send FILE KEY URL    sends FILE, as eth_sendTransaction takes it, and waits for the receipt
// Prints one line of JSON.
import { readFileSync } from 'node:fs'

const [, , kit, verb, file, key, url] = process.argv
const given = JSON.parse(readFileSync(file, 'utf8'))

const viem = {
  async sign() {
    const { hashTypedData } = await import('viem')
    const { privateKeyToAccount } = await import('viem/accounts')
    return { digest: hashTypedData(given), signature: await privateKeyToAccount(key).signTypedData(given) }
  },
  async send() {
    const { createPublicClient, createWalletClient, defineChain, http } = await import('viem')
    const { privateKeyToAccount } = await import('viem/accounts')
    const coin = { name: 'Ether', symbol: 'ETH', decimals: 18 }
    const chain = defineChain({ id: Number(given.chainId), name: 'a chain', nativeCurrency: coin, rpcUrls: { default: { http: [url] } } })
    // Several requests become a batch.
    const transport = http(url, { batch: true })
    const wallet = createWalletClient({ account: privateKeyToAccount(key), chain, transport })
    const hash = await wallet.sendTransaction({ to: given.to, data: given.data, value: BigInt(given.value) })
    const reader = createPublicClient({ chain, transport })
    const receipt = await reader.waitForTransactionReceipt({ hash, pollingInterval: 50 })
    return { hash, succeeded: receipt.status === 'success', events: receipt.logs.length }
  },
}

const ethers = {
  async sign() {
    const { TypedDataEncoder, Wallet } = await import('ethers')
    const { EIP712Domain, ...types } = given.types
    const parts = [given.domain, types, given.message]
    return { digest: TypedDataEncoder.hash(...parts), signature: await new Wallet(key).signTypedData(...parts) }
  },
  async send() {
    const { JsonRpcProvider, Wallet } = await import('ethers')
    const provider = new JsonRpcProvider(url, undefined, { cacheTimeout: -1, pollingInterval: 50 })
    try {
      const sent = await new Wallet(key, provider).sendTransaction({ to: given.to, data: given.data, value: given.value })
      const receipt = await sent.wait()
      return { hash: sent.hash, succeeded: receipt.status === 1, events: receipt.logs.length }
    } finally {
      provider.destroy()
    }
  },
}

console.log(JSON.stringify(await { viem, ethers }[kit][verb]()))
