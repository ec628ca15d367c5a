// Makes the uploads in this folder with the classes of Java that the SDKs use on Android, and sends
// some of them: see README.md. The forms are those of sensorsdata/sa-sdk-android (AnalyticsMessages,
// SADataHelper), of sa-sdk-javascript, and of Mi Stat 2.x; the values are made up.
//
//   java Uploads.java FOLDER         writes the files
//   java Uploads.java send ADDRESS   posts them to ADDRESS over plain HTTP

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPairGenerator;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.Map;
import java.util.TreeMap;
import java.util.zip.GZIPOutputStream;
import javax.crypto.Cipher;
import javax.crypto.spec.IvParameterSpec;
import javax.crypto.spec.SecretKeySpec;

public class Uploads {
    static final String EVENTS = "["
        + "{\"_track_id\":-1893277711,\"time\":1588239000000,\"type\":\"track\",\"event\":\"search\","
        + "\"distinct_id\":\"5f1c9f0e-made-up\",\"anonymous_id\":\"5f1c9f0e-made-up\",\"identities\":"
        + "{\"$identity_android_id\":\"9774d56d682e549c\"},\"lib\":{\"$lib\":\"Android\","
        + "\"$lib_version\":\"6.7.0\",\"$lib_method\":\"code\"},\"properties\":{\"$os\":\"Android\","
        + "\"$model\":\"Redmi Note 8\",\"search_word\":\"\u4f60\u597d caf\u00e9\",\"$is_first_day\":false,"
        + "\"oaid\":\"1f3a9b0c-made-up\",\"imei\":\"490154203237518\"},\"_flush_time\":1588239015000},"
        + "{\"time\":1588239001000,\"type\":\"track\",\"event\":\"page_load_event_finish\","
        + "\"distinct_id\":\"5f1c9f0e-made-up\",\"properties\":{\"url\":"
        + "\"https://news.example.org/a-private-matter?id=1&x=%20\"}},"
        + "{\"time\":1588239002000,\"type\":\"profile_set\",\"distinct_id\":\"5f1c9f0e-made-up\","
        + "\"properties\":{\"$city\":\"\"}}]";

    // As RemoteDataPackingJob packs it.
    static final String SESSIONS = "[{\"endTS\":1588239060000,\"startTS\":1588239000000,\"content\":["
        + "{\"category\":\"mistat_session\",\"values\":[{\"start\":1588239000000,\"end\":1588239060000,"
        + "\"env\":\"WIFI\"}]},"
        + "{\"category\":\"mistat_pv\",\"values\":[\"1,2\",\"1\"],\"index\":\"MainActivity,Album\","
        + "\"source\":[\"\",\"\"]},"
        + "{\"category\":\"play\",\"values\":[{\"key\":\"song_played\",\"type\":\"count\",\"value\":1,"
        + "\"params\":{\"title\":\"A Song\",\"from\":\"album\"}}]}]}]";

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("send")) {
            send(arguments[1]);
            return;
        }
        Path folder = Path.of(arguments[0]);
        Files.writeString(folder.resolve("sensors_gzip.form"), sensorsGzip());
        Files.writeString(folder.resolve("sensors_page.url"), sensorsPage());
        Files.writeString(folder.resolve("sensors_pages.form"), sensorsPages());
        Files.writeString(folder.resolve("sensors_stored.form"), sensorsEncrypted("9"));
        Files.writeString(folder.resolve("sensors_way.form"), sensorsEncrypted("13"));
        Files.writeString(folder.resolve("mistat.form"), mistat());
        Files.write(folder.resolve("onetrack.body"), oneTrack());
    }

    static String sensorsGzip() throws Exception {
        String data = base64(gzip(EVENTS));
        return "crc=" + data.hashCode() + "&gzip=1&data_list=" + encode(data);
    }

    static String sensorsPage() throws Exception {
        String event = EVENTS.substring(EVENTS.indexOf(",{\"time\":1588239001000") + 1);
        event = event.substring(0, event.indexOf("},{") + 1);
        String data = base64(event.getBytes(StandardCharsets.UTF_8));
        return "https://sa.example.org/sa.gif?project=default&data=" + encode(data) + "&ext="
            + encode("crc=" + data.hashCode());
    }

    static String sensorsPages() throws Exception {
        return "data_list=" + encode(base64(EVENTS.getBytes(StandardCharsets.UTF_8)));
    }

    static String sensorsEncrypted(String mode) throws Exception {
        KeyPairGenerator pair = KeyPairGenerator.getInstance("RSA");
        pair.initialize(2048);
        byte[] key = random(16), iv = random(16);
        Cipher rsa = Cipher.getInstance("RSA/ECB/PKCS1Padding");
        rsa.init(Cipher.ENCRYPT_MODE, pair.generateKeyPair().getPublic());
        byte[] sealed = aes("AES/CBC/PKCS5Padding", key, iv, gzip(EVENTS));
        byte[] payload = new byte[16 + sealed.length];
        System.arraycopy(iv, 0, payload, 0, 16);
        System.arraycopy(sealed, 0, payload, 16, sealed.length);
        String list = "[{\"ekey\":\"" + base64(rsa.doFinal(key)) + "\",\"pkv\":1,\"payloads\":[\""
            + base64(payload) + "\",\"" + base64(payload) + "\"],\"flush_time\":1588239015000}]";
        return "crc=" + list.hashCode() + "&gzip=" + mode + "&data_list=" + encode(list);
    }

    static String mistat() throws Exception {
        String id = "1000271", key = "340100014271", device = md5("860000000000009");
        byte[] sealed = aes("AES/CBC/PKCS5Padding", seed(id, key, device), seed(device, key, id),
            SESSIONS.getBytes(StandardCharsets.UTF_8));
        StringBuilder hex = new StringBuilder();
        for (byte one : sealed) {
            hex.append(String.format("%02x", one & 255));
        }
        Map<String, String> form = new TreeMap<>();
        form.put("app_id", id);
        form.put("app_key", key);
        form.put("device_id", device);
        form.put("id_type", "2");
        form.put("channel", "default");
        form.put("version", "3.1.0");
        form.put("sdk_version", "2.1.0");
        form.put("network", "WIFI");
        form.put("mistatv", "5");
        form.put("size", "4");
        form.put("stat_value", hex.toString());
        StringBuilder body = new StringBuilder();
        for (Map.Entry<String, String> field : form.entrySet()) {
            body.append(body.length() == 0 ? "" : "&").append(encode(field.getKey()));
            body.append("=").append(encode(field.getValue()));
        }
        return body.toString();
    }

    static byte[] oneTrack() throws Exception {
        return aes("AES/ECB/PKCS5Padding", random(16), null, gzip("{\"H\":{},\"B\":{}}"));
    }

    static void send(String address) throws Exception {
        String agent = "Dalvik/2.1.0 (Linux; U; Android 10; Redmi Note 8)";
        System.setProperty("http.agent", agent);
        System.setProperty("sun.net.http.allowRestrictedHeaders", "true");
        post(address, "data.mistat.xiaomi.com", "/mistats/v2", mistat().getBytes(), null);
        post(address, "sa.example.org", "/sa?project=default", sensorsGzip().getBytes(), "sized");
        post(address, "sa.example.org", "/sa?project=default", sensorsPages().getBytes(), "chunked");
        post(address, "sa.example.org", "/sa?project=default", gzip(sensorsPages()), "packed");
        post(address, "tracking.miui.com", "/track/v4", oneTrack(), "onetrack");
        get(address, "sa.example.org", sensorsPage().substring("https://sa.example.org".length()));
        get(address, "www.example.org", "/index.html");
    }

    static void post(String address, String host, String path, byte[] body, String how)
            throws Exception {
        HttpURLConnection connection =
            (HttpURLConnection) new URL("http://" + address + path).openConnection();
        connection.setRequestProperty("Host", host);
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        if ("sized".equals(how)) {
            connection.setFixedLengthStreamingMode(body.length);
        } else if ("chunked".equals(how)) {
            connection.setChunkedStreamingMode(100);
        } else if ("packed".equals(how)) {
            connection.setRequestProperty("Content-Encoding", "gzip");
        } else if ("onetrack".equals(how)) {
            connection.setRequestProperty("Content-Type", "application/octet-stream");
            connection.setRequestProperty("OT_SID", "1a2b3c-made-up");
            connection.setRequestProperty("OT_protocol", "3.0");
        }
        try (OutputStream out = connection.getOutputStream()) {
            out.write(body);
        }
        finish(connection);
    }

    static void get(String address, String host, String path) throws Exception {
        HttpURLConnection connection =
            (HttpURLConnection) new URL("http://" + address + path).openConnection();
        connection.setRequestProperty("Host", host);
        finish(connection);
    }

    static void finish(HttpURLConnection connection) throws Exception {
        if (connection.getResponseCode() != 200) {
            throw new IllegalStateException("got " + connection.getResponseCode());
        }
        connection.getInputStream().readAllBytes();
    }

    static byte[] seed(String first, String second, String third) throws Exception {
        String text = String.format("seed:%s-%s-%s", first, second, third);
        return md5(text).substring(0, 16).getBytes();
    }

    static String md5(String text) throws Exception {
        byte[] sum = MessageDigest.getInstance("MD5").digest(text.getBytes(StandardCharsets.UTF_8));
        StringBuilder hex = new StringBuilder();
        for (byte one : sum) {
            hex.append(String.format("%02X", one & 255));
        }
        return hex.toString();
    }

    static byte[] aes(String mode, byte[] key, byte[] iv, byte[] plain) throws Exception {
        Cipher cipher = Cipher.getInstance(mode);
        SecretKeySpec secret = new SecretKeySpec(key, "AES");
        if (iv == null) {
            cipher.init(Cipher.ENCRYPT_MODE, secret);
        } else {
            cipher.init(Cipher.ENCRYPT_MODE, secret, new IvParameterSpec(iv));
        }
        return cipher.doFinal(plain);
    }

    static byte[] gzip(String text) throws Exception {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (GZIPOutputStream out = new GZIPOutputStream(bytes)) {
            out.write(text.getBytes(StandardCharsets.UTF_8));
        }
        return bytes.toByteArray();
    }

    static byte[] random(int length) {
        byte[] bytes = new byte[length];
        new SecureRandom().nextBytes(bytes);
        return bytes;
    }

    static String base64(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }

    static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }
}
