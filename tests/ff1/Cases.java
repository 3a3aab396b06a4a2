import java.io.BufferedWriter;
import java.io.OutputStreamWriter;
import java.util.Random;
import org.bouncycastle.crypto.fpe.FPEFF1Engine;
import org.bouncycastle.crypto.params.FPEParameters;
import org.bouncycastle.crypto.params.KeyParameter;

/**
 * Random cases of FF1 by Bouncy Castle, a line each: key, radix, tweak, numerals, ciphertext. Radix 65,536 is left out: of
 * it alone Bouncy Castle 1.86 answers otherwise than Project Wycheproof's vectors, which ours agree with.
 */
public final class Cases {
    private static final int[] RADICES = {
        2, 3, 7, 10, 16, 26, 36, 62, 64, 85, 94, 128, 255, 256, 257, 1000, 4096, 20992, 65535};

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[0]);
        Random random = new Random(Long.parseLong(args[1]));
        try (BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out), 1 << 20)) {
            for (int i = 0; i < count; i++) {
                out.write(line(random));
            }
        }
    }

    private static String line(Random random) throws Exception {
        int radix = random.nextInt(4) == 0
            ? 2 + random.nextInt(65534)
            : RADICES[random.nextInt(RADICES.length)];
        int least = Math.max(2, (int) Math.ceil(Math.log(1e6) / Math.log(radix) - 1e-9));
        // Half of all near where a half of the numerals is 32, 62 or 64 bits long.
        double bits = new int[] {32, 62, 64}[random.nextInt(3)];
        int near = 2 * (int) (bits * Math.log(2) / Math.log(radix)) - 2 + random.nextInt(6);
        int n = Math.max(least, random.nextBoolean() ? near : least + random.nextInt(40));

        byte[] key = new byte[new int[] {16, 24, 32, 32, 32}[random.nextInt(5)]];
        byte[] tweak = new byte[random.nextInt(50)];
        random.nextBytes(key);
        random.nextBytes(tweak);
        int[] numerals = new int[n];
        int kind = random.nextInt(16);
        for (int i = 0; i < n; i++) {
            numerals[i] = kind == 0 ? 0 : kind == 1 ? radix - 1 : random.nextInt(radix);
        }

        FPEFF1Engine engine = new FPEFF1Engine();
        engine.init(true, new FPEParameters(new KeyParameter(key), radix, tweak));
        byte[] in = bytes(numerals, radix);
        byte[] sealed = new byte[in.length];
        engine.processBlock(in, 0, in.length, sealed, 0);
        return hex(key) + ' ' + radix + ' ' + hex(tweak) + ' ' + list(numerals) + ' '
            + list(numbers(sealed, radix)) + '\n';
    }

    /** One byte a numeral up to radix 256, above it two. */
    private static byte[] bytes(int[] numerals, int radix) {
        int width = radix > 256 ? 2 : 1;
        byte[] out = new byte[width * numerals.length];
        for (int i = 0; i < numerals.length; i++) {
            out[width * (i + 1) - 1] = (byte) numerals[i];
            if (width == 2) {
                out[2 * i] = (byte) (numerals[i] >> 8);
            }
        }
        return out;
    }

    private static int[] numbers(byte[] bytes, int radix) {
        int width = radix > 256 ? 2 : 1;
        int[] out = new int[bytes.length / width];
        for (int i = 0; i < bytes.length; i++) {
            out[i / width] = out[i / width] << 8 | bytes[i] & 0xff;
        }
        return out;
    }

    private static String hex(byte[] bytes) {
        StringBuilder out = new StringBuilder("x");
        for (byte b : bytes) {
            out.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
        }
        return out.toString();
    }

    private static String list(int[] numbers) {
        StringBuilder out = new StringBuilder();
        for (int number : numbers) {
            out.append(out.length() == 0 ? "" : ",").append(number);
        }
        return out.toString();
    }
}
