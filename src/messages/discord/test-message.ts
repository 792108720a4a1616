/** The message with which an administrator tests a webhook. */

const GREEN = 3_066_993;

/** The message. @param at when the test was requested. */
export const webhookTestMessage = (at: Date) => ({
  embeds: [
    {
      title: '🧪 Webhook Test',
      description: 'This is a test message to verify webhook connectivity',
      color: GREEN,
      fields: [
        { name: 'Status', value: '✅ Webhook is working correctly', inline: true },
        { name: 'Test Time', value: at.toISOString(), inline: true },
      ],
      footer: { text: 'NodeByte Webhook Test' },
      timestamp: at.toISOString(),
    },
  ],
  allowed_mentions: { parse: [] },
});
